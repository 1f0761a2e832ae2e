"""A training plan put into a model: what the optimizer sees, and how it gets into the weights.

Every changeable parameter takes one of three ways. *Compact*: a slice with its own small parameter
(:class:`~ssah_exp.training.compact.CompactLinear`). *Masked*: the whole parameter is trained, its
frozen part gets no gradient and is put back after each step; exact as well, and cheaper when
little is frozen. *Whole*: trained as it is. Weights in a lower precision have float32 masters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn

from ssah_exp.interventions.plan import Slice, TrainingPlan
from ssah_exp.training.compact import CompactLinear
from ssah_exp.training.hooks import swap_forward_hooks
from ssah_exp.training.shards import average_over_ranks, is_split, kept_by_first, split_like

Way = Literal["auto", "compact", "masked"]


def cheaper_path(
    share: float, weight_bytes: int, state_bytes: int = 12, master_bytes: int = 4
) -> Way:
    """Which of the two exact ways of training a slice takes less memory.

    Compact: the frozen working weight, and for the trained share a master, gradient and optimizer
    states. Masked: the weight, with gradient, states and (if its precision is below the master's) a
    master for all of it, and the copy of the frozen part that is put back. For a float32 parameter
    under AdamW, masking takes less above a share of 0.80.

    Args:
        share: Trained share of the parameter.
        weight_bytes: Bytes per weight of the model.
        state_bytes: Gradient and optimizer states per trained weight, see :func:`state_bytes_of`.
        master_bytes: Bytes per trained weight as the optimizer sees it.
    """
    compact = weight_bytes + share * (master_bytes + state_bytes)
    whole = weight_bytes + (master_bytes if weight_bytes < master_bytes else 0) + state_bytes
    masked = whole + (1 - share) * weight_bytes
    return "compact" if compact <= masked else "masked"


def state_bytes_of(optimizer: str, master_bytes: int = 4) -> int:
    """Gradient and optimizer states per trained weight, in bytes.

    AdamW keeps two moments in the precision of what it moves, its 8-bit version one byte for each.

    Args:
        optimizer: ``adamw`` or ``adamw_8bit``.
        master_bytes: Bytes per trained weight as the optimizer sees it.
    """
    return master_bytes + (2 if optimizer == "adamw_8bit" else 2 * master_bytes)


class Trainable(Protocol):
    """What a run trains, as :class:`~ssah_exp.training.module.FineTuning` sees it.

    It is a :class:`TunedWeights`, or an adapter in a model
    (:class:`~ssah_exp.training.adapters.adapter.InstalledAdapter`). Both derive from this class, as
    any other should: what it need not do, it inherits.
    """

    def optimizer_parameters(self) -> list[nn.Parameter]:
        """Parameters for the optimizer, in float32; called once the model is where it trains."""

    def before_batch(self) -> None:
        """Called before each batch, including batches within one step."""
        return

    def before_step(self) -> None:
        """Called when gradients are there, before they are clipped."""
        return

    def after_step(self) -> None:
        """Called when the optimizer has moved the parameters."""
        return

    def state(self) -> dict[str, torch.Tensor]:
        """Everything trained, for a checkpoint."""

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Undo :meth:`state`.

        Raises:
            KeyError: The state is of something else.
        """

    def attached_values(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """What is trained and is no weight: name -> value before training and now, on the host.

        By default nothing.
        """
        return {}

    def kept_whole(self) -> list[nn.Parameter]:
        """Parameters that every rank keeps whole where weights are split over ranks.

        By default none: trained slices are split as weights are.
        """
        return []


@dataclass
class _Masked:
    """A parameter whose frozen part is copied, and put back after every step."""

    parameter: nn.Parameter
    dim: int
    rest: torch.Tensor
    kept: torch.Tensor

    def without_frozen(self, grad: torch.Tensor) -> torch.Tensor:
        return grad.index_fill(self.dim, self.rest.to(grad.device), 0.0)

    @torch.no_grad()
    def restore(self) -> None:
        device = self.parameter.device
        self.parameter.index_copy_(self.dim, self.rest.to(device), self.kept.to(device))


class TunedWeights(Trainable):
    """What a plan trains in a model. Made, and taken out again, by :func:`tuned_weights`."""

    def __init__(self, model: nn.Module, *, optimizer: str, masters: bool) -> None:
        self._model = model
        self._optimizer = optimizer
        self._wide = masters
        self._compact: dict[str, tuple[CompactLinear, nn.Linear]] = {}  # by the layer's name
        self._masked: dict[str, _Masked] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._masters: list[tuple[nn.Parameter, nn.Parameter]] | None = None
        self._requires_grad = {n: p.requires_grad for n, p in model.named_parameters()}
        self._parameters = dict(model.named_parameters())

    def install(self, plan: TrainingPlan, path: Way) -> None:
        """Put ``plan`` into the model; if it fails half-way, :meth:`close` takes that out, too."""
        whole = frozenset(plan.whole)
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(name in whole)
        for item in plan.slices:
            self._install_slice(item, plan, path)

    def _install_slice(self, item: Slice, plan: TrainingPlan, path: Way) -> None:
        module_name, _, leaf = item.name.rpartition(".")
        if leaf == "bias" and module_name in self._compact:
            return  # trained together with the rows of its weight
        parameter = self._parameters[item.name]
        chosen = self._cheaper(item, parameter) if path == "auto" else path
        if chosen == "masked" or leaf == "bias":
            self._mask(item, parameter)
            return
        linear = self._model.get_submodule(module_name)
        assert isinstance(linear, nn.Linear)
        bias_too = f"{module_name}.bias" in plan.by_name
        master = torch.float32 if self._wide else parameter.dtype
        compact = CompactLinear(linear, item.dim, item.index, master, bias_too=bias_too)
        compact.train(linear.training)
        self._model.set_submodule(module_name, compact)
        swap_forward_hooks(linear, compact)
        self._compact[module_name] = (compact, linear)

    def _cheaper(self, item: Slice, parameter: nn.Parameter) -> Way:
        size = parameter.element_size()
        master = 4 if self._wide else size
        states = state_bytes_of(self._optimizer, master)
        return cheaper_path(item.index.numel() / item.size, size, states, master)

    def _mask(self, item: Slice, parameter: nn.Parameter) -> None:
        rest = item.rest.to(parameter.device)
        masked = _Masked(parameter, item.dim, rest, item.take_rest(parameter.detach()))
        parameter.requires_grad_(True)
        hook = parameter.register_hook(masked.without_frozen)  # type: ignore[no-untyped-call]
        self._hooks.append(hook)
        self._masked[item.name] = masked

    @property
    def compact_modules(self) -> list[CompactLinear]:
        """The layers that stand in for others at the moment."""
        return [compact for compact, _ in self._compact.values()]

    @property
    def kept_bytes(self) -> int:
        """Bytes of the copies of frozen parts that are put back after every step."""
        return sum(item.kept.nbytes for item in self._masked.values())

    def optimizer_parameters(self) -> list[nn.Parameter]:
        """Parameters for the optimizer, in float32 unless masters are not wanted.

        Call it once the model is where it trains: masters of lower-precision weights are made
        there. Masters are not parameters of the module.
        """
        trained = [item for item in self._model.parameters() if item.requires_grad]
        if not self._wide:
            self._release()
            return trained
        self._masters = [
            (item, nn.Parameter(item.detach().float()))
            for item in trained
            if item.dtype in (torch.bfloat16, torch.float16)
        ]
        replaced = {id(item): master for item, master in self._masters}
        return [replaced.get(id(item), item) for item in trained]

    def before_batch(self) -> None:
        """Move what the previous batch of the step left into the masters' gradients.

        Summed in a lower precision, small contributions of many batches would be lost. These sums
        are this rank's own: DDP exchanges gradients only after a step's last batch, and
        :meth:`before_step` averages the sums.
        """
        for item, master in self._masters or ():
            _move_gradient(item, master)

    def before_step(self) -> None:
        """Hand gradients to the masters. Call it before gradients are clipped.

        Under DDP the masters' sums over a step's earlier batches are averaged over ranks here, in
        float32. The last batch's gradients come averaged: DDP writes the mean into the trained
        parameter's own gradient, in its dtype. That is float32 for a compact slice; for a
        lower-precision weight that is trained whole or masked it is the weight's, to which each
        rank's gradient was rounded before.
        """
        masters = self._masters or ()
        average_over_ranks([m.grad for _, m in masters if m.grad is not None])
        for item, master in masters:
            _move_gradient(item, master)
        self._renew()

    @torch.no_grad()
    def after_step(self) -> None:
        """Write what the optimizer moved into the weights; put frozen parts back."""
        for item, master in self._masters or ():
            item.copy_(master)
        for module in self.compact_modules:
            module.write_back()
        for masked in self._masked.values():
            masked.restore()
        self._release()

    def _release(self) -> None:
        """Without masters, the weight holds the same numbers: a copy exists only during a step."""
        for module in () if self._wide else self.compact_modules:
            module.release()

    def _renew(self) -> None:
        for module in () if self._wide else self.compact_modules:
            module.renew()

    def state(self) -> dict[str, torch.Tensor]:
        """Everything trained, for a checkpoint, and what is frozen in a masked tensor.

        Tensors that are split over ranks are put together one by one in main memory, on rank 0
        alone: a model may be too large for one GPU. All others stay where they are.
        """
        self._renew()
        trained = {
            f"weight/{name}": kept_by_first(item.detach()) if is_split(item) else item.detach()
            for name, item in self._model.named_parameters()
            if item.requires_grad
        }
        masters = {f"master/{at}": m.detach() for at, (_, m) in enumerate(self._masters or ())}
        return {**trained, **masters}

    @torch.no_grad()
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Undo :meth:`state`.

        Raises:
            KeyError: The state is of another plan.
        """
        self._renew()
        for name, item in self._model.named_parameters():
            if item.requires_grad:
                item.copy_(split_like(state[f"weight/{name}"], item))
        for at, (_, master) in enumerate(self._masters or ()):
            master.copy_(state[f"master/{at}"])
        self.after_step()

    def close(self) -> None:
        """Take everything out again; the weights keep what was learned."""
        for name, (compact, linear) in self._compact.items():
            self._model.set_submodule(name, linear)
            swap_forward_hooks(linear, compact)
        self._compact.clear()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._masters = None
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(self._requires_grad[name])
            parameter.grad = None


def _move_gradient(item: nn.Parameter, master: nn.Parameter) -> None:
    if item.grad is None:
        return
    if master.grad is None:
        master.grad = item.grad.float()
    else:
        master.grad += item.grad
    item.grad = None


@contextmanager
def tuned_weights(
    model: nn.Module,
    plan: TrainingPlan,
    path: Way = "auto",
    *,
    optimizer: str = "adamw",
    masters: bool = True,
) -> Iterator[TunedWeights]:
    """Put ``plan`` into ``model`` for as long as the block lasts, whatever happens inside.

    Args:
        model: Its weights stay its own; modules that train in part are replaced meanwhile.
        plan: What may change.
        path: ``auto`` takes the cheaper way for each slice.
        optimizer: What will move the weights; which way is cheaper depends on its states.
        masters: Whether weights below float32 are moved as float32 copies. Without them steps
            below a weight's own spacing are lost; only a benchmark does without.
    """
    tuned = TunedWeights(model, optimizer=optimizer, masters=masters)
    try:
        tuned.install(plan, path)
        yield tuned
    finally:
        tuned.close()
