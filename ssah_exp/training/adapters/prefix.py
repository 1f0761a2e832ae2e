"""Prefix tuning (Li and Liang 2021, arXiv 2101.00190)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.attached.library import check_peft
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.training.adapters.adapter import InstalledAdapter, check_positive, requires_grad_of
from ssah_exp.training.adapters.beside import InstalledBeside, nothing_changes


@dataclass(frozen=True)
class Prefix:
    """Trains keys and values that stand before the first token in every block.

    Attributes:
        tokens: Positions the prefix takes.
    """

    tokens: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_peft()
        check_positive("Prefix.tokens", self.tokens)

    def plan(self, model: nn.Module, plan: TrainingPlan) -> TrainingPlan:
        """No weight of the model changes."""
        return nothing_changes(model)

    def install(self, model: nn.Module, plan: TrainingPlan) -> InstalledAdapter:
        """Attach an untrained prefix.

        Raises:
            ModelError: The model has an adapter already.
        """
        given = requires_grad_of(model)
        return InstalledBeside(model, LearnedPrefix.new(model, self.tokens), given)
