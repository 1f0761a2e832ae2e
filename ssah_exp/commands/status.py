"""`ssah-exp status`: how the jobs of a sweep stand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from ssah_exp.config.paths import root_of
from ssah_exp.sweeps.folder import find_sweep, sweeps_below
from ssah_exp.sweeps.report import lines, summary
from ssah_exp.sweeps.status import SweepStatus, status_of


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print one sweep job by job, or all sweeps in a line each.

    Raises:
        StoreError: There is no such sweep.
    """
    root = root_of(options.root)
    sweeps = sweeps_below(root) if options.all else [find_sweep(root, options.sweep)]
    found = [status_of(sweep) for sweep in sweeps]
    if options.json:
        content = [as_json(status) for status in found]
        print(json.dumps(content if options.all else content[0], indent=1))
        return 0
    for status in found:
        if not options.all:
            print("\n".join(lines(status.standings)))
        print(summary(status))
        if status.note:
            print(f"note: {status.note}")
    return 0


def as_json(status: SweepStatus) -> dict[str, Any]:
    """Everything that is known, as plain values."""
    return {
        "sweep": status.sweep.name,
        "folder": str(status.sweep.folder),
        "launcher": status.sweep.plan()["launcher"],
        "counts": status.counts(),
        "note": status.note,
        "jobs": [
            {
                "job": item.job.number,
                "status": item.status,
                "detail": item.detail,
                "overrides": item.job.overrides(),
                "run_id": item.state.run_id,
                "artefact": item.state.artefact,
                "attempts": item.state.attempts,
                "seconds": item.state.seconds,
                "started": item.state.started,
                "updated": item.state.updated,
                "slurm": item.job.ticket(),
            }
            for item in status.standings
        ],
    }
