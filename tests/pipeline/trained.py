"""What a training table's run leaves in the cache, read without the code that wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from ssah_exp.pipeline.opened import Finished
from ssah_exp.records.record import ArmRecord
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.unitmap import UnitMap
from tests.tiny import tiny_model
from tests.training.planning import expected

Weights = dict[str, torch.Tensor]


def cache_of(finished: Finished) -> Path:
    """Where the run's cache entries lie."""
    return finished.folder.parents[2] / "cache"


def entry_of(finished: Finished, stage: str) -> Path:
    """The cache entry of one stage, by the name it has in the record."""
    (key,) = {item.key for item in finished.stages if item.name == stage}
    kind = {"train": "tune", "attack": "attempts"}.get(stage.split()[0], stage.split()[0])
    return cache_of(finished) / kind / key


def weights_of(finished: Finished, stage: str) -> Weights:
    """The weights that a stage ended with."""
    return load_file(entry_of(finished, stage) / "model.safetensors")


def arm_of(finished: Finished, name: str) -> ArmRecord:
    """One arm of the record."""
    (arm,) = [arm for arm in finished.record.arms if arm.name == name]
    return arm


def training_of(finished: Finished, name: str) -> dict[str, Any]:
    """How an arm was trained."""
    training = arm_of(finished, name).training
    assert training is not None
    return training


def units_of(finished: Finished, *classes: str) -> NDArray[np.bool_]:
    """``(units,)`` bool, the units of some classes."""
    units = UnitMap.load(finished.folder / "unitmap")
    return np.isin(units.classes, [int(UnitClass[name]) for name in classes])


def changeable(policy: str, selected: NDArray[np.bool_]) -> Weights:
    """Weight by weight, what a policy may change in the tiny model, from the definition."""
    chosen = selected if policy == "budget" else ~selected
    return expected(tiny_model("llama_gqa"), chosen, others=policy != "budget")


def moved(before: Weights, after: Weights) -> Weights:
    """Weight by weight, whether its bits changed."""
    assert before.keys() == after.keys()
    return {
        name: item.view(torch.int32) != after[name].view(torch.int32)
        for name, item in before.items()
    }


def count(masks: Weights) -> int:
    """How many are true."""
    return sum(int(mask.sum()) for mask in masks.values())
