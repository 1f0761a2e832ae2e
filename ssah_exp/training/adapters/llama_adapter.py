"""LLaMA-Adapter (Zhang et al. 2023, arXiv 2303.16199), PEFT's AdaptionPrompt."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ssah_exp.config.ranges import above, refuse
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.attached.llama_adapter import AdaptionPrompts, check_family, check_layers
from ssah_exp.models.attached.peft_library import check_peft
from ssah_exp.training.adapters.adapter import InstalledAdapter
from ssah_exp.training.adapters.attached import InstalledAttached


@dataclass(frozen=True)
class LlamaAdapter:
    """Trains prompts that the heads of the topmost blocks attend to, with a gate for each.

    Attributes:
        length: Positions per prompt.
        layers: How many blocks, from the top; None = all but the lowest two, as in the
            method's paper.
    """

    length: int
    layers: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        check_peft()
        refuse(
            [
                *above("LlamaAdapter.length", self.length, 0),
                *above("LlamaAdapter.layers", self.layers, 0),
            ]
        )

    def plan(self, model: nn.Module, plan: TrainingPlan) -> TrainingPlan:
        """No weight of the model changes.

        Raises:
            ModelError: The method does not know the model's family, or it has fewer blocks.
        """
        check_family(model)
        if self.layers is not None:
            check_layers(model, self.layers)
        return TrainingPlan.of(model)

    def install(self, model: nn.Module, plan: TrainingPlan) -> InstalledAdapter:
        """Attach untrained prompts.

        Raises:
            ModelError: The model has an adapter already.
        """
        return InstalledAttached(model, AdaptionPrompts.new(model, self.length, self.layers))
