"""Models changed under a plan, as training would change them, and exact comparison."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from ssah_exp.config.schema import OthersConfig
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.sources import ModelRef

ORIGIN = ModelRef("tiny/base", "r7", "somewhere/private", "f" * 64)
TRAIN_ALL_OTHERS = OthersConfig(embeddings=True, norms=True, lm_head=True)


def plan_for(
    model: PreTrainedModel, policy: str = "budget", others: OthersConfig | None = None
) -> TrainingPlan:
    """A plan over every third unit, so that all blocks have some."""
    selected = np.arange(read_anatomy(model).units) % 3 == 0
    return plan_training(model, policy, selected, others or OthersConfig())


def tuned(model: PreTrainedModel, plan: TrainingPlan, seed: int = 1) -> PreTrainedModel:
    """A copy in which everything the plan lets change has changed."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in plan.whole:
            noise = torch.randn(parameters[name].shape, generator=generator)
            parameters[name].add_(noise.to(parameters[name].dtype))
        for item in plan.slices:
            part = item.take(parameters[item.name])
            noise = torch.randn(part.shape, generator=generator)
            item.put(parameters[item.name], part + noise.to(part.dtype))
    return model


def raw(tensor: torch.Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """Type, shape and bytes: equal if and only if tensors are equal to the last bit."""
    flat = tensor.detach().contiguous().flatten().view(torch.uint8)
    return str(tensor.dtype), tuple(tensor.shape), flat.numpy().tobytes()


def raw_all(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """:func:`raw` of every tensor."""
    return {name: raw(tensor) for name, tensor in weights.items()}


def raw_files(folder: Path) -> dict[str, object]:
    """File name -> its header's metadata and all its tensors' bytes."""
    content: dict[str, object] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            content[path.name] = (file.metadata(), raw_all(tensors))
    return content
