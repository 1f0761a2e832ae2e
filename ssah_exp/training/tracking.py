"""Attribute transfer while it happens: which class every unit has, looked at every few steps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Batch, Collate
from ssah_exp.models.load import LoadedModel
from ssah_exp.units.classes import transition_counts
from ssah_exp.units.snapshot import classes_now

_KEY = "tracked"


@dataclass(frozen=True)
class Tracking:
    """How to follow the classes of units through a training.

    Attributes:
        every: Optimizer steps between two looks.
        calibration: ``safety`` and ``utility`` examples, few: a look costs a pass over them.
        units: Which tokens count, statistic, budgets.
    """

    every: int
    calibration: Mapping[str, Sequence[Encoded]]
    units: UnitsConfig

    def callback(self, loaded: LoadedModel) -> UnitTracking:
        """The callback that looks at ``loaded``."""
        return UnitTracking(loaded, self)


class UnitTracking(pl.Callback):
    """Looks before the first step, every so often, and after the last step.

    A checkpoint or the end of a batch may come first, as the order of callbacks has it: a step is
    looked at once.
    """

    def __init__(self, loaded: LoadedModel, tracking: Tracking) -> None:
        self._loaded, self._tracking = loaded, tracking
        size, collate = tracking.units.batch_size, Collate(loaded.speech.pad_id)
        self._batches: dict[str, list[Batch]] = {
            name: [collate(items[at : at + size]) for at in range(0, len(items), size)]
            for name, items in tracking.calibration.items()
        }
        self._steps: list[int] = []
        self._classes: list[NDArray[np.uint8]] = []
        self._begun = self._ended = self._looking = 0.0  # process time, s

    def overhead(self) -> float:
        """Process time of the looks, divided by that of everything else in the training.

        It covers the process that ended the training: nothing before a resume is counted.
        """
        return self._looking / (self._ended - self._begun - self._looking)

    def flows(self) -> list[dict[str, Any]]:
        """One entry per look: ``step``, and ``units``, how many went from each class to each.

        ``units`` is a 4 x 4 table in the order of
        :class:`~ssah_exp.units.classes.UnitClass`: rows are classes before the first step, columns
        classes at the look.
        """
        return [
            {"step": step, "units": transition_counts(self._classes[0], classes).tolist()}
            for step, classes in zip(self._steps, self._classes, strict=True)
        ]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at where the training starts from."""
        self._begun = time.process_time()
        if not self._steps:
            self._look(0)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look if it is time."""
        self._look_if_due(trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at what came out."""
        self._look(trainer.global_step)
        self._ended = time.process_time()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what was seen."""
        self._look_if_due(trainer.global_step)
        checkpoint[_KEY] = {
            "steps": list(self._steps),
            "classes": torch.from_numpy(np.stack(self._classes)),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Undo :meth:`on_save_checkpoint`."""
        kept = checkpoint[_KEY]
        self._steps, self._classes = list(kept["steps"]), list(kept["classes"].numpy())

    def _look_if_due(self, step: int) -> None:
        if step % self._tracking.every == 0:
            self._look(step)

    def _look(self, step: int) -> None:
        if step in self._steps:
            return
        begun = time.process_time()
        found = classes_now(self._loaded, self._batches, self._tracking.units)
        self._looking += time.process_time() - begun
        self._steps.append(step)
        self._classes.append(found)
