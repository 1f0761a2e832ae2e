"""The statistics written down plainly: own hooks, one example at a time, loops, float64 numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ssah_exp.data.chat import Encoded

Activations = dict[tuple[str, int], list[NDArray[np.float64]]]


def record(model: PreTrainedModel, items: Sequence[Encoded], tokens: str) -> Activations:
    """Inputs of every o_proj and down_proj: per example ``(tokens that count, channels)``."""
    seen: dict[tuple[str, int], torch.Tensor] = {}
    handles = []
    for layer, block in enumerate(model.model.layers):
        for kind, module in (("attention", block.self_attn.o_proj), ("mlp", block.mlp.down_proj)):

            def keep(_: object, inputs: tuple[torch.Tensor], key: tuple[str, int]) -> None:
                seen[key] = inputs[0][0]

            key = (kind, layer)
            handles.append(module.register_forward_pre_hook(lambda m, x, key=key: keep(m, x, key)))
    recorded: Activations = {}
    for item in items:
        with torch.no_grad():
            model(input_ids=torch.tensor([item.input_ids]), use_cache=False)
        first = item.response_start if tokens == "response" else 0
        for key, value in seen.items():
            recorded.setdefault(key, []).append(value[first:].double().numpy())
    for handle in handles:
        handle.remove()
    return recorded


def variance(examples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """1/(N-1) sum_n (x_nj - mean_j)^2 over all tokens."""
    rows = np.concatenate(examples)
    middle, total = rows.mean(axis=0), np.zeros(rows.shape[1])
    for row in rows:
        total += (row - middle) ** 2
    return total / (len(rows) - 1)


def mean(examples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(examples).mean(axis=0)


def flap(examples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """1/(N-1) sum_{j>=2} (j-1)/j sum_t (x_jt - mu_j)^2, mu_j over the first j examples' means."""
    total = np.zeros(examples[0].shape[1])
    for j in range(2, len(examples) + 1):
        running = np.mean([example.mean(axis=0) for example in examples[:j]], axis=0)
        for token in examples[j - 1]:
            total += (j - 1) / j * (token - running) ** 2
    return total / (len(examples) - 1)


def z_scores(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """To zero mean and unit (sample) deviation."""
    return (row - row.mean()) / np.sqrt(((row - row.mean()) ** 2).sum() / (row.size - 1))


def scores(
    model: PreTrainedModel,
    dispersion: dict[tuple[str, int], NDArray[np.float64]],
    *,
    square: bool = True,
    weighted: bool = True,
) -> list[float]:
    """z_S or z_U of every unit: block by block, heads before neurons."""
    flat: list[float] = []
    heads = model.config.num_attention_heads
    for layer, block in enumerate(model.model.layers):
        weight = block.self_attn.o_proj.weight.detach().double().numpy()
        importance = dispersion["attention", layer] * ((weight**2).sum(axis=0) if weighted else 1)
        channels = z_scores(importance**2 if square else importance)
        size = len(channels) // heads
        flat += [channels[head * size : (head + 1) * size].mean() for head in range(heads)]
        weight = block.mlp.down_proj.weight.detach().double().numpy()
        importance = dispersion["mlp", layer] * ((weight**2).sum(axis=0) if weighted else 1)
        flat += list(z_scores(importance))
    return flat
