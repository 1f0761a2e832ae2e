"""Policies as a Lightning callback: puts a training plan into the module and takes it out."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
from torch import nn

from ssah_exp import ranks
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.attached.base import attached_to
from ssah_exp.training.adapters.adapter import Adapter, installed
from ssah_exp.training.module import FineTuning, optimizer_of
from ssah_exp.training.tuned import Way, tuned_weights


class UnitPolicy(pl.Callback):
    """Trains what ``plan`` allows and nothing else.

    ``none``, ``freeze`` and ``budget`` differ in the plan alone
    (:func:`ssah_exp.interventions.plan.plan_training`).

    Args:
        plan: What may change.
        path: How slices are trained; both ways are exact.
        adapter: What is trained in place of the weights; ``plan`` is its
            :meth:`~ssah_exp.training.adapters.adapter.Adapter.plan`.
    """

    def __init__(
        self, plan: TrainingPlan, path: Way = "auto", adapter: Adapter | None = None
    ) -> None:
        self._plan = plan
        self._path = path
        self._adapter = adapter
        self._stack = ExitStack()

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Put the plan in; Lightning calls this before the optimizer is made."""
        assert isinstance(pl_module, FineTuning)
        if self._adapter is None:
            name = optimizer_of(pl_module.config)
            context = tuned_weights(pl_module.model, self._plan, self._path, optimizer=name)
            pl_module.tuned = self._stack.enter_context(context)
        else:
            pl_module.tuned = self._stack.enter_context(
                installed(self._adapter, pl_module.model, self._plan)
            )
        attached = attached_to(pl_module.model)
        if ranks.count() > 1 and attached is not None:
            # Gradients are exchanged only for parameters of the module; these lie beside the model.
            pl_module.attached = nn.ParameterList(attached.parameters.values())

    def __enter__(self) -> UnitPolicy:
        """Use it in a ``with`` block around the fit: its end takes everything out again.

        Lightning's own hooks for that run in the callbacks' order, and a checkpoint saved on
        SIGTERM needs what they would have taken out.
        """
        return self

    def __exit__(self, *exception: Any) -> None:
        """Take everything out; after an error an adapter is not merged."""
        self._stack.__exit__(*exception)
