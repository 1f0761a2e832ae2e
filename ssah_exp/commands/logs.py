"""`ssah-exp logs`: what a job printed, attempt after attempt."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import root_of
from ssah_exp.errors import StoreError
from ssah_exp.sweeps.folder import Job, Sweep, find_sweep


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print the log; under Slurm, what the scheduler said behind it.

    Raises:
        StoreError: No such job, or it has printed nothing yet.
    """
    sweep = find_sweep(root_of(options.root), options.sweep)
    job = _find(sweep, options.run)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in _files(sweep, job)]
    if not any(texts):
        error = job.state().error
        why = "" if error is None else f" Its state says: {error}."
        raise StoreError(f"Job {job.number} of sweep {sweep.name} has printed nothing yet.{why}")
    print("".join(texts), end="")
    return 0


def _find(sweep: Sweep, run: str) -> Job:
    jobs = sweep.jobs()
    for job in jobs:
        if run in (str(job.number), job.folder.name, job.state().run_id):
            return job
    raise StoreError(
        f"Sweep {sweep.name} has no job or finished run '{run}'; jobs go from 0 to {len(jobs) - 1}."
    )


def _files(sweep: Sweep, job: Job) -> list[Path]:
    ticket = job.ticket()
    scheduler = [] if ticket is None else sorted((sweep.folder / "slurm").glob(f"{ticket}_*.out"))
    return [path for path in (job.log, *scheduler) if path.is_file()]
