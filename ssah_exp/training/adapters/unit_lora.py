"""LoRA that acts on the chosen units alone: on their rows and columns of the projections."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ssah_exp.config.ranges import above, refuse
from ssah_exp.errors import ModelError
from ssah_exp.interventions.plan import Slice, TrainingPlan
from ssah_exp.training.adapters.adapter import (
    InstalledAdapter,
    projections,
    requires_grad_of,
)
from ssah_exp.training.hooks import swap_forward_hooks


@dataclass(frozen=True)
class UnitLora:
    """Adds ``alpha / rank * B A`` to the part of each projection that the plan lets change.

    In a projection whose rows belong to units (query, key, value, gate, up), B writes only their
    rows; in one whose columns do (output, down), A reads only their columns. What else the plan
    would train (embeddings, norms, biases, LM head) stays as it is, as under LoRA.

    Attributes:
        rank: Rows of A and columns of B.
        alpha: Scale of what is added.
    """

    rank: int
    alpha: float

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        refuse([*above("UnitLora.rank", self.rank, 0), *above("UnitLora.alpha", self.alpha, 0)])

    def plan(self, model: nn.Module, plan: TrainingPlan) -> TrainingPlan:
        """The projections of ``plan``.

        Raises:
            ModelError: ``plan`` leaves no projection open.
        """
        every = set(projections(model))
        slices = tuple(item for item in plan.slices if item.name in every)
        whole = tuple(name for name in plan.whole if name in every)
        if not slices and not whole:
            raise ModelError("UnitLora has nothing to train: the plan leaves no projection open.")
        return TrainingPlan.of(model, slices, whole)

    def install(self, model: nn.Module, plan: TrainingPlan) -> InstalledAdapter:
        """Put a stand-in in place of every projection of ``plan``."""
        given = requires_grad_of(model)
        parts = plan.by_name
        layers: dict[str, UnitLoraLinear] = {}
        for name in (*plan.whole, *parts):
            module = name.removesuffix(".weight")
            linear = model.get_submodule(module)
            assert isinstance(linear, nn.Linear)
            scale = self.alpha / self.rank
            layers[module] = UnitLoraLinear(linear, parts.get(name), self.rank, scale)
        return _Installed(model, layers, given)


class UnitLoraLinear(nn.Module):
    """Stands in for an ``nn.Linear`` of which a part is trained through two small matrices.

    Args:
        linear: The layer; its weight and bias are shared.
        part: Rows or columns to act on; None = the whole weight.
        rank: Rows of A and columns of B.
        scale: Factor on what the two matrices add.

    Attributes:
        a: ``(rank, in)``, or ``(rank, k)`` where k columns are trained; float32.
        b: ``(out, rank)``, or ``(k, rank)`` where k rows are trained; float32, zero at first.
    """

    index: torch.Tensor

    def __init__(self, linear: nn.Linear, part: Slice | None, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        # Under the names that they have without the stand-in.
        self.weight, self.bias = linear.weight, linear.bias
        self.part = part
        self.scale = scale
        size = list(linear.weight.shape)
        if part is not None:
            size[part.dim] = part.index.numel()
        device = linear.weight.device
        self.a = nn.Parameter(torch.empty(rank, size[1], device=device, dtype=torch.float32))
        self.b = nn.Parameter(torch.zeros(size[0], rank, device=device, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))  # as PEFT starts its LoRA
        index = torch.empty(0, dtype=torch.int64) if part is None else part.index
        self.register_buffer("index", index.to(device), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., in)`` -> ``(..., out)``."""
        y = F.linear(x, self.weight, self.bias)
        if self.part is not None and self.part.dim == 1:
            x = x.index_select(-1, self.index)
        update = (self.scale * F.linear(F.linear(x.float(), self.a), self.b)).to(y.dtype)
        if self.part is not None and self.part.dim == 0:
            return y.index_add(-1, self.index, update)
        return y + update

    @torch.no_grad()
    def merge(self) -> None:
        """Add the learned part to the weight in float32 and round once; the rest is not touched."""
        delta = self.scale * self.b @ self.a
        if self.part is None:
            self.weight.copy_(self.weight.float() + delta)
        else:
            self.part.put(self.weight, self.part.take(self.weight).float() + delta)


class _Installed(InstalledAdapter):
    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, UnitLoraLinear],
        given: dict[nn.Parameter, bool],
    ) -> None:
        self._layers = layers
        parameters: dict[str, nn.Parameter] = {}
        for name, layer in layers.items():
            parameters |= {f"{name}.A": layer.a, f"{name}.B": layer.b}
            layer.train(layer.linear.training)
            model.set_submodule(name, layer)
            swap_forward_hooks(layer.linear, layer)
        super().__init__(model, parameters, given)

    def merge(self) -> None:
        """Merge every stand-in into the part of its weight that the plan names."""
        for layer in self._layers.values():
            layer.merge()

    def remove(self) -> None:
        """Put the linear layers back."""
        for name, layer in self._layers.items():
            self._model.set_submodule(name, layer.linear)
            swap_forward_hooks(layer.linear, layer)
