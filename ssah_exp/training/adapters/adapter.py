"""What an adapter is to a training run, and what all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.anatomy import unit_tensors
from ssah_exp.training.tuned import Trainable


@runtime_checkable
class Adapter(Protocol):
    """A way to train a model through few parameters of its own."""

    def plan(self, model: nn.Module, plan: TrainingPlan) -> TrainingPlan:
        """The part of ``plan`` that the adapter changes in the model's weights in the end.

        Applying it to its own result changes nothing.

        Raises:
            ModelError: The adapter cannot act on this model, or not under this plan.
        """

    def install(self, model: nn.Module, plan: TrainingPlan) -> InstalledAdapter:
        """Put the adapter in; ``plan`` comes from :meth:`plan`."""


class InstalledAdapter(Trainable):
    """An adapter in a model, for :class:`~ssah_exp.training.module.FineTuning`.

    The model's own weights get no gradient as long as it is in. Its parameters are float32, and the
    optimizer steps on them directly, so there are no masters to keep.

    Args:
        model: Its weights' ``requires_grad`` is put back by :meth:`close`.
        parameters: The adapter's own parameters, under any names.
        given: ``requires_grad`` of the model's weights before anything was put in.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        given: Mapping[nn.Parameter, bool],
    ) -> None:
        self._model = model
        self._parameters = dict(parameters)
        self._given = dict(given)
        for weight in self._given:
            weight.requires_grad_(False)

    def optimizer_parameters(self) -> list[nn.Parameter]:
        """Parameters for the optimizer, float32."""
        return list(self._parameters.values())

    def state(self) -> dict[str, torch.Tensor]:
        """Everything trained, for a checkpoint."""
        return {f"adapter/{name}": item.detach() for name, item in self._parameters.items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Undo :meth:`state`.

        Raises:
            KeyError: The state is of another adapter.
        """
        for name, item in self._parameters.items():
            item.copy_(state[f"adapter/{name}"])

    def kept_whole(self) -> list[nn.Parameter]:
        """All of the adapter's: they are few."""
        return list(self._parameters.values())

    def merge(self) -> None:
        """Put what was learned into the weights, where the method can."""

    def remove(self) -> None:
        """Put the model's own modules back."""

    def finish(self) -> None:
        """Call this after training that ended well: merge, then :meth:`close`, whatever happens."""
        try:
            self.merge()
        finally:
            self.close()

    def close(self) -> None:
        """Take the adapter out again; what is not merged is lost."""
        self.remove()
        for weight, wanted in self._given.items():
            weight.requires_grad_(wanted)
            weight.grad = None


@contextmanager
def installed(adapter: Adapter, model: nn.Module, plan: TrainingPlan) -> Iterator[Trainable]:
    """Put ``adapter`` into ``model`` for as long as the block lasts.

    What was learned is kept if the block ends well; otherwise the weights are what they were. Only
    an error amid merging leaves some of them merged; the adapter is taken out then, too.
    """
    trained = adapter.install(model, plan)
    try:
        yield trained
    except BaseException:
        trained.close()
        raise
    trained.finish()


def requires_grad_of(model: nn.Module) -> dict[nn.Parameter, bool]:
    """``requires_grad`` of every weight, to be put back."""
    return {weight: weight.requires_grad for weight in model.parameters()}


def projections(model: nn.Module) -> tuple[str, ...]:
    """Names of the weights of all attention and MLP projections, ``(out, in)``, block by block."""
    return tuple(item.name for item in unit_tensors(model) if item.name.endswith(".weight"))
