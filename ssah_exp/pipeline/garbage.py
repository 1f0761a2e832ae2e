"""Collecting garbage without losing signals, and without searching what libraries import."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ssah_exp.signals import signals_later

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def collect_garbage() -> None:
    """Free reference cycles; a signal that comes meanwhile is handled afterwards.

    Python runs a signal's handler before the next line of Python. During a collection that may be
    a line of a ``__del__`` (Lightning's profiler has one), where whatever is raised is dropped: the
    run would go on.
    """
    # Those without a handler in Python act as ever.
    with signals_later([item for item in _ENDING if callable(signal.getsignal(item))]):
        gc.collect()


@contextmanager
def imports_stay() -> Iterator[None]:
    """Keep the garbage collector off what the block imports, which stays until the process ends.

    For the import of the pipeline, in commands and workers, whose process is ours. Its libraries
    are half a million objects: the collector would walk over them several times while they are
    imported, and again whenever a run frees the memory of a model, a third of a second each time.
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
        atexit.register(_let_go)
        if collecting:
            gc.enable()


def _let_go() -> None:
    """At the end of the process, give what stayed back to the collector where that is looked at.

    triton, which comes with torch for GPUs, prints thirty lines about what nobody freed. It takes a
    second, which torch for CPUs is spared.
    """
    if "triton" in sys.modules:
        gc.unfreeze()
