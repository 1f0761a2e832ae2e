"""Sets of units to plan for, and what may change, weight by weight, by arithmetic of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.anatomy import read_anatomy
from tests.tiny import HEADS, LAYERS, NEURONS


def some_units(model: nn.Module, share: float = 0.5, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.random(read_anatomy(model).units) < share


def masks_of(model: nn.Module, plan: TrainingPlan) -> dict[str, torch.Tensor]:
    """Parameter name -> bool tensor of its shape, true where it may change."""
    masks = {}
    for name, parameter in model.named_parameters():
        mask = torch.zeros(parameter.shape, dtype=torch.bool)
        if name in plan.whole:
            mask[:] = True
        elif name in plan.by_name:
            item = plan.by_name[name]
            mask.index_fill_(item.dim, item.index, True)
        masks[name] = mask
    return masks


def expected(model: nn.Module, chosen: np.ndarray, others: bool) -> dict[str, torch.Tensor]:
    """The same from the definition: one loop over units, one over key-value heads."""
    config, anatomy = model.config, read_anatomy(model)
    group, width = anatomy.heads // anatomy.kv_heads, anatomy.head_dim
    masks = {n: torch.full(p.shape, others) for n, p in model.named_parameters()}
    table = chosen.reshape(LAYERS, HEADS + NEURONS)
    assert config.num_hidden_layers == LAYERS
    for layer in range(LAYERS):
        heads, neurons = table[layer, :HEADS], table[layer, HEADS:]
        shared = [heads[k * group : (k + 1) * group].all() for k in range(anatomy.kv_heads)]
        query = torch.tensor([bool(h) for h in heads for _ in range(width)])
        key = torch.tensor([bool(k) for k in shared for _ in range(width)])
        neuron = torch.tensor([bool(n) for n in neurons])
        rows = {
            "self_attn.q_proj": query,
            "self_attn.k_proj": key,
            "self_attn.v_proj": key,
            "self_attn.qkv_proj": torch.cat([query, key, key]),
            "mlp.gate_proj": neuron,
            "mlp.up_proj": neuron,
            "mlp.gate_up_proj": torch.cat([neuron, neuron]),
        }
        for name, mask in masks.items():
            prefix, _, leaf = name.rpartition(".")
            for module, owned in rows.items():
                if prefix == f"model.layers.{layer}.{module}":
                    mask[:] = owned[:, None] if leaf == "weight" else owned
            if name == f"model.layers.{layer}.self_attn.o_proj.weight":
                mask[:] = query[None, :]
            if name == f"model.layers.{layer}.mlp.down_proj.weight":
                mask[:] = neuron[None, :]
    return masks
