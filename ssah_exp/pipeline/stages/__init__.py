"""The expensive stages, a cache entry each: making models, scoring units, asking questions."""

from __future__ import annotations

from dataclasses import dataclass

from ssah_exp.pipeline.stages.answering import AnsweringStages
from ssah_exp.pipeline.stages.benchmarks import BenchmarkStages, read_losses
from ssah_exp.pipeline.stages.making import MakingStages, read_statistics, read_training, save_model
from ssah_exp.pipeline.stages.shared import system_if_used
from ssah_exp.pipeline.stages.slot import ModelSlot

__all__ = [
    "ModelSlot",
    "Stages",
    "read_losses",
    "read_statistics",
    "read_training",
    "save_model",
    "system_if_used",
]


@dataclass(frozen=True)
class Stages(MakingStages, AnsweringStages, BenchmarkStages):
    """All stages of a run."""
