"""A short training that can be killed at any step, and begun again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from tests.forking import START_METHOD
from tests.training import worker
from tests.training.calling import with_callback

STEPS = 8  # 10 examples in batches of 3, twice


class Worker:
    """A training process that stops after every batch until it is let go; a test ends it.

    Args:
        training: What it does; it is pickled, so no lambda and no function within another.
    """

    def __init__(self, training: Callable[[], object]) -> None:
        processes = get_context(START_METHOD)
        self.connection, theirs = processes.Pipe()
        given = (theirs, training)
        self.process = processes.Process(target=worker.main, args=given, daemon=True)
        self.process.start()
        theirs.close()

    def until(self, batch: int) -> None:
        """Let it work until ``batch`` is done; it then waits."""
        while self.connection.recv() != batch:
            self.go()

    def go(self) -> None:
        self.connection.send("go")

    def end(self, number: signal.Signals) -> int | None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        with suppress(EOFError, OSError):  # it has ended
            while True:  # asked to end, it may have steps to go first
                self.go()
                self.connection.recv()
        self.process.join()
        return self.process.exitcode

    def close(self) -> None:
        """Told to end it would only note it, and wait on."""
        self.process.kill()
        self.connection.close()


class KilledError(Exception):
    """What ends a run in these tests."""


class KillAt(pl.Callback):
    """Ends the run after so many batches, wherever it is."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        if len(pl_module.losses) == self.batch:
            raise KilledError


def killed_at(batch: int) -> AbstractContextManager[None]:
    """Every training inside ends after so many batches; 0 = none does."""
    return with_callback(KillAt(batch))


def trained(
    folder: Path | None, policy: str = "none", accumulate: int = 1, kill_at: int = 0
) -> str:
    """Train in this process; ``kill_at`` = 0 lets it end."""
    with killed_at(kill_at):
        return worker.train(folder, policy, accumulate, 0.0)


@cache
def uninterrupted(policy: str = "none", accumulate: int = 1) -> str:
    """What a run that nobody ends gives."""
    return worker.train(None, policy, accumulate, 0.0)


CASES = [("none", 1), ("budget", 1), ("freeze", 2)]
