"""How a worker is told to end: between two training steps where it can, at once elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

ENDED = 143  # the exit code of a process that SIGTERM ended


@dataclass
class Told:
    """Whether a worker was told that its time is up."""

    time_is_up: bool = False


@contextmanager
def listening() -> Iterator[Told]:
    """Handle TERM, and USR2 (the time is up, then TERM), while the block lasts."""
    told = Told()

    def end(number: int, frame: FrameType | None) -> None:
        # While Lightning trains it has put a handler of its own in front of this one and will end
        # between two steps; to raise here would spoil its checkpoint.
        if signal.getsignal(signal.SIGTERM) is end:
            raise SystemExit(ENDED)

    def warn(number: int, frame: FrameType | None) -> None:
        told.time_is_up = True
        os.kill(os.getpid(), signal.SIGTERM)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, end),
        signal.SIGUSR2: signal.signal(signal.SIGUSR2, warn),
    }
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
