"""How a worker or a command ends when told to: in training between two steps, else at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from ssah_exp.errors import ENDED
from ssah_exp.signals import handlers_kept, signals_later

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Told:
    """Whether a worker was told that its time is up."""

    time_is_up: bool = False


@contextmanager
def tidied_up() -> Iterator[None]:
    """Around a command: on TERM, which by itself ends Python on the spot, let it clean up first.

    Nothing changes outside the main thread, which alone may handle signals, and where TERM is
    handled or ignored already.

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
def held_back() -> Iterator[None]:
    """Let what would end this process, or programs it starts, wait until the block has ended."""
    with signals_later(_ENDINGS):
        # Programs inherit what is blocked, not who handles it. Blocking alone would not do here,
        # where another thread may get the signal.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def listening() -> Iterator[Told]:
    """Handle TERM, and USR2 (note that the time is up, then do as on TERM), during the block.

    Raises:
        SystemExit: With 143, after either; not while Lightning trains.
    """
    told = Told()

    def warn(number: int, frame: FrameType | None) -> None:
        told.time_is_up = True
        os.kill(os.getpid(), signal.SIGTERM)

    with handlers_kept((signal.SIGTERM, signal.SIGUSR2)):
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGUSR2, warn)
        yield told


def _end(number: int, frame: FrameType | None) -> None:
    # While Lightning trains, a handler of its own stands in front of this one and ends the training
    # between two steps; to raise here would spoil its checkpoint.
    if signal.getsignal(signal.SIGTERM) is _end:
        raise SystemExit(ENDED)
