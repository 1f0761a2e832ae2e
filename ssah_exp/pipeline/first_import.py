"""The first import of everything a run needs, without looking for garbage among it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
