"""Which job of which sweep a run is: trackers show it, records and run ids do not hold it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Environment variable with the folder of the job at work; a run's processes inherit it.
VARIABLE = "SSAH_SWEEP_JOB"
_JOB = "job.json"  # as in ssah_exp.sweeps.job, which imports this package
# Overrides that say where things lie or what computes them: folders' names leave no machine.
_PLACES = re.compile(
    r"^[+~]*(?:paths|trainer|tracker|hydra)\b"
    r"|(?:^|[.+\s{,])(?:path|prompt_path|root|file|folder|dir)\s*[:=]"
    r"|[=\s\"'\[{,:](?:/|~|\.{1,2}/)"
)


@dataclass(frozen=True)
class SweepJob:
    """A sweep's job, as people tell it from others.

    Attributes:
        sweep: Name of the sweep.
        number: Its number within the sweep.
        overrides: The overrides it was given, but for those that name places.
    """

    sweep: str
    number: int
    overrides: tuple[str, ...]

    def described(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"id": self.sweep, "job": self.number, "overrides": list(self.overrides)}


@contextmanager
def working_on(folder: Path | None) -> Iterator[None]:
    """During the block, runs that are shown belong to the job at ``folder``; None = to none."""
    before = os.environ.get(VARIABLE)
    _set(None if folder is None else str(folder.absolute()))
    try:
        yield
    finally:
        _set(before)


def _set(value: str | None) -> None:
    if value is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = value


def job_at_work() -> SweepJob | None:
    """The job at work; None if there is none, or its folder is damaged."""
    if not (place := os.environ.get(VARIABLE)):
        return None
    folder = Path(place)
    try:
        frozen = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        given = (str(item) for item in frozen["overrides"])
        shown = tuple(item for item in given if not _PLACES.search(item))
        return SweepJob(folder.parents[1].name, int(folder.name), shown)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # the run goes on without
