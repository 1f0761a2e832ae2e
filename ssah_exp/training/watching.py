"""Callbacks of a user's own that watch a training, and what they say about it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import pytorch_lightning as pl

from ssah_exp.errors import SsahWarning

# Number by name; None where it is not finite.
Watched = dict[str, float | None]


class Watcher(pl.Callback):
    """A Lightning callback with numbers for the record; any other callback may stand beside it.

    ``pl_module`` is the :class:`~ssah_exp.training.module.FineTuning`: ``pl_module.model`` is what
    is trained. What it keeps between steps goes through ``state_dict`` and ``load_state_dict``, as
    tensors and plain values, so that a resumed training says the same as an uninterrupted one.
    """

    def watched(self) -> Mapping[str, float]:
        """What it found, by name; asked for once, when the training has ended."""
        return {}


def watched_by(callbacks: Mapping[str, pl.Callback]) -> dict[str, Watched]:
    """Name of each callback that found anything -> what it found.

    One that fails has found nothing, with a warning: the training is done, and would be lost.
    """
    said = {
        name: _asked(name, callback)
        for name, callback in callbacks.items()
        if isinstance(callback, Watcher)
    }
    return {name: numbers for name, numbers in said.items() if numbers}


def _asked(name: str, callback: Watcher) -> Watched:
    try:
        return {str(key): _finite(value) for key, value in callback.watched().items()}
    except Exception as error:  # it is somebody's own code
        warnings.warn(
            f"The callback {name} fails in watched(), the record has nothing of it: "
            f"{type(error).__name__}: {error}",
            SsahWarning,
            stacklevel=2,
        )
        return {}


def _finite(value: float) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
