"""The expensive stages, a cache entry each: making models, scoring units, asking questions."""

from __future__ import annotations

from dataclasses import dataclass

from ssah_exp.models.sources import ModelRef
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

    def check(self, ref: ModelRef) -> None:
        """Before hours of training, refuse what the model cannot be asked or measured on.

        Raises:
            DataError: Text, requests or conversations do not fit the model, or there is too little.
        """
        self.check_text(ref)
        self.check_prompts(ref)
        self.check_conversations(ref)
