"""`ssah-exp logs`: what a job printed, attempt after attempt."""

from __future__ import annotations

import argparse
from pathlib import Path

from ssah_exp.config.paths import root_of
from ssah_exp.errors import StoreError
from ssah_exp.sweeps.finding import find_sweep, sweeps_below
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job


def execute(options: argparse.Namespace) -> int:
    """Print the log and, under Slurm, what the scheduler said after it.

    Raises:
        StoreError: No such job, or it has printed nothing yet.
    """
    sweep, job = _find(root_of(options.root), options.sweep, options.run)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in _files(job)]
    if not any(texts):
        error = job.state().error
        why = "" if error is None else f" Its state says: {error}."
        raise StoreError(f"Job {job.number} of sweep {sweep.name} has printed nothing yet.{why}")
    print("".join(texts), end="")
    return 0


def _find(root: Path, name: str | None, run: str) -> tuple[Sweep, Job]:
    """A job by its number in the sweep, or by its run id, in any sweep if none is named.

    Raises:
        StoreError: There is none.
    """
    sweep = find_sweep(root, name)
    jobs = sweep.jobs()
    for job in jobs:
        if run in (str(job.number), job.folder.name):
            return sweep, job
    for other in [sweep] if name is not None else reversed(sweeps_below(root)):
        for job in other.jobs():
            if job.state().run_id == run:
                return other, job
    there = f"jobs go from 0 to {len(jobs) - 1}" if jobs else "no job of it is written down"
    raise StoreError(f"Sweep {sweep.name} has no job or finished run '{run}'; {there}.")


def _files(job: Job) -> list[Path]:
    return [path for path in (job.log, *job.said_by_slurm()) if path.is_file()]
