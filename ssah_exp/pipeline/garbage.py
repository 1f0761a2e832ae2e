"""Collecting garbage so that no signal is lost in it, and not looking for it where none is."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def collect_garbage() -> None:
    """Free what holds itself in circles; a signal that comes meanwhile counts behind it.

    Python runs a signal's handler before the next line of Python, which amid a collection is one
    of a ``__del__`` (Lightning's profiler has one), and whatever is raised in there is dropped: the
    run would go on.
    """
    with _signals_later():
        gc.collect()


@contextmanager
def _signals_later() -> Iterator[None]:
    """Hold back signals that this process handles; those it does not act by themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread runs handlers, and only it may change them
        return
    came: list[int] = []
    found = {number: signal.getsignal(number) for number in _ENDING}
    held = {number: handler for number, handler in found.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda given, _: came.append(given))
    try:
        yield
    finally:
        # The one that raises by default comes last: behind it nothing would be put back.
        for number, handler in reversed(held.items()):
            signal.signal(number, handler)
        for signalled in came:
            signal.raise_signal(signalled)


@contextmanager
def imports_stay() -> Iterator[None]:
    """Around the import of the pipeline, in commands and workers, whose process is ours.

    Libraries are half a million objects that live as long as the process. The collector would walk
    over them several times while they come, and again whenever a run frees the memory of a model,
    a third of a second each time.
    """
    if "ssah_exp.pipeline.dispatch" in sys.modules:
        yield
        return
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
