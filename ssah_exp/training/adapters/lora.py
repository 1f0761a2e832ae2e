"""LoRA (Hu et al. 2021, arXiv 2106.09685) on whole projections, by PEFT; merged at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ssah_exp.config.ranges import above, refuse
from ssah_exp.errors import ModelError, did_you_mean
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.attached.peft_library import check_peft, peft_library
from ssah_exp.training.adapters.adapter import (
    InstalledAdapter,
    projections,
    requires_grad_of,
)
from ssah_exp.training.hooks import swap_forward_hooks

_NAME = "default"


@dataclass(frozen=True)
class Lora:
    """Adds ``alpha / rank * B A`` to projections; A and B are trained.

    Attributes:
        rank: Rows of A and columns of B.
        alpha: Scale of what is added.
        dropout: Share of A's inputs that are dropped in training.
        targets: Projections as the model names them (``q_proj``); None = all of every block.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: list[str] | None = None

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        check_peft()
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        yield from above("Lora.rank", self.rank, 0)
        yield from above("Lora.alpha", self.alpha, 0)
        if not 0 <= self.dropout < 1:
            yield f"Lora.dropout={self.dropout} lies outside [0, 1)."
        if self.targets is not None and not self.targets:
            yield "Lora.targets is an empty list; null stands for all projections."

    def plan(self, model: nn.Module, plan: TrainingPlan) -> TrainingPlan:
        """The targeted projections change everywhere, all else nowhere.

        Raises:
            ModelError: A target the model does not have, or one that ``plan`` does not let change
                as a whole.
        """
        targets = self._targets(model)
        closed = sorted(targets - set(plan.whole))
        if closed:
            raise ModelError(
                f"LoRA would change frozen parts of {closed[0]}. UnitLora keeps to chosen units."
            )
        whole = [name for name, _ in model.named_parameters() if name in targets]
        return TrainingPlan.of(model, whole=whole)

    def _targets(self, model: nn.Module) -> set[str]:
        every = projections(model)
        if self.targets is None:
            return set(every)
        leaf_of = {name: name.removesuffix(".weight").rpartition(".")[2] for name in every}
        for target in self.targets:
            if target not in leaf_of.values():
                raise ModelError(
                    f"The model has no projection '{target}'."
                    f"{did_you_mean(target, leaf_of.values())}"
                )
        return {name for name, leaf in leaf_of.items() if leaf in self.targets}

    def install(self, model: nn.Module, plan: TrainingPlan) -> InstalledAdapter:
        """Put PEFT's LoRA layers in place of the targets."""
        given = requires_grad_of(model)
        names = [name.removesuffix(".weight") for name in plan.whole]
        config = peft_library().LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=names
        )
        peft_library().inject_adapter_in_model(config, model, _NAME)
        del model.peft_config  # PEFT's mark on the model; its layers will be taken out again
        return _Installed(model, {name: model.get_submodule(name) for name in names}, given)


class _Installed(InstalledAdapter):
    def __init__(
        self, model: nn.Module, layers: dict[str, Any], given: dict[nn.Parameter, bool]
    ) -> None:
        parameters: dict[str, nn.Parameter] = {}
        for name, layer in layers.items():
            parameters[f"{name}.A"] = layer.lora_A[_NAME].weight
            parameters[f"{name}.B"] = layer.lora_B[_NAME].weight
            swap_forward_hooks(layer.base_layer, layer)  # A reads the same inputs as the layer
            layer.train(layer.base_layer.training)  # dropout in the model's mode, not in PEFT's
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
        self._layers = layers
        super().__init__(model, parameters, given)

    @torch.no_grad()
    def merge(self) -> None:
        """Add in float32, round once."""
        for layer in self._layers.values():
            weight = layer.base_layer.weight
            weight.copy_(weight.float() + layer.get_delta_weight(_NAME))

    def remove(self) -> None:
        """Put the linear layers back."""
        for name, layer in self._layers.items():
            self._model.set_submodule(name, layer.base_layer)
            swap_forward_hooks(layer.base_layer, layer)
