"""A sweep on disk whose jobs nobody runs."""

from __future__ import annotations

import json
from pathlib import Path

from ssah_exp.sweeps.folder import Sweep, open_sweep


def sweep_of(root: Path, jobs: int) -> Sweep:
    """Jobs that no worker ever gets to run."""
    sweep = open_sweep(root / "sweeps" / "night", "local", {}, {"digest": "x"})
    for number in range(jobs):
        job = sweep.job(number)
        job.folder.mkdir(parents=True)
        content = {"number": number, "overrides": [f"seed={number}"], "config": {}}
        (job.folder / "job.json").write_text(json.dumps(content))
    return sweep


def under_slurm(sweep: Sweep) -> None:
    """As if Slurm had been given its jobs, as array 7."""
    plan = {**sweep.plan(), "launcher": "slurm"}
    (sweep.folder / "sweep.json").write_text(json.dumps(plan))
    for job in sweep.jobs():
        job.give_ticket(f"7_{job.number}")
