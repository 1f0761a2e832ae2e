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
