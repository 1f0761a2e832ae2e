"""Signals: handlers that are put back, and signals that wait until a block has ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def handlers_kept(numbers: Sequence[int]) -> Iterator[None]:
    """Put the handlers of some signals back at the end, whatever the block puts in their place.

    Nothing changes outside the main thread, which alone may handle signals.

    Args:
        numbers: Signals. What raises by default, SIGINT, comes first: it is put back last, or else
            others might never be.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in reversed(before.items()):
            if handler is not None:  # one that Python did not put in cannot be put back by it
                signal.signal(number, handler)


@contextmanager
def signals_later(numbers: Sequence[int]) -> Iterator[None]:
    """Hold signals back until the block has ended; then each that came acts as ever.

    Nothing changes outside the main thread.

    Args:
        numbers: See :func:`handlers_kept`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    try:
        with handlers_kept(numbers):
            for number in numbers:
                signal.signal(number, lambda given, _: came.append(given))
            yield
    finally:
        for signalled in came:
            signal.raise_signal(signalled)
