"""How a worker or a command is told to end: amid training between two steps, else at once."""

from __future__ import annotations

import os
import signal
import threading
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
def tidied_up() -> Iterator[None]:
    """Around a command: TERM, which ends Python on the spot, lets it remove what is half made.

    Outside the main thread, which alone may handle signals, and where somebody else handles or
    ignores TERM, all stays as it is.

    Raises:
        SystemExit: With 143, after TERM.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def listening() -> Iterator[Told]:
    """Handle TERM, and USR2 (the time is up, then TERM), while the block lasts."""
    told = Told()

    def warn(number: int, frame: FrameType | None) -> None:
        told.time_is_up = True
        os.kill(os.getpid(), signal.SIGTERM)

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, _end),
        signal.SIGUSR2: signal.signal(signal.SIGUSR2, warn),
    }
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    # While Lightning trains it has put a handler of its own in front of this one and will end
    # between two steps; to raise here would spoil its checkpoint.
    if signal.getsignal(signal.SIGTERM) is _end:
        raise SystemExit(ENDED)
