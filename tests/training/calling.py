"""A callback that trainings have besides their own, to end them or to follow them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl

from ssah_exp.training import loop


@contextmanager
def with_callback(callback: pl.Callback) -> Iterator[None]:
    """Every training inside has it, as its last."""
    make = loop.make_trainer
    loop.make_trainer = lambda config, callbacks, **rest: make(  # type: ignore[assignment]
        config, [*callbacks, callback], **rest
    )
    try:
        yield
    finally:
        loop.make_trainer = make
