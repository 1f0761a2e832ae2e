"""The first import of everything a run needs, without looking for garbage among it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssah_exp.pipeline.opened import Finished

_RUNS = "ssah_exp.pipeline.dispatch"


def runner() -> Callable[..., Finished]:
    """:func:`ssah_exp.pipeline.dispatch.run`, imported where it is first needed: it takes seconds.

    For commands and workers, whose process is ours.
    """
    if _RUNS not in sys.modules:
        with _imports_stay():
            __import__(_RUNS)
    from ssah_exp.pipeline.dispatch import run

    return run


@contextmanager
def _imports_stay() -> Iterator[None]:
    """Libraries are half a million objects that live as long as the process.

    The collector would walk over them several times while they come, and again whenever a run
    frees the memory of a model, a third of a second each time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
