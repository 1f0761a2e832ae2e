"""`ssah-exp status`: how the jobs of a sweep stand."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ssah_exp.config.paths import root_of
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.sweeps.finding import find_sweep, sweeps_below
from ssah_exp.sweeps.report import lines, summary
from ssah_exp.sweeps.status import SweepStatus, status_of


def execute(options: argparse.Namespace) -> int:
    """Print one sweep job by job, or all sweeps in a line each.

    Raises:
        ConfigError: A sweep is named beside ``--all``.
        StoreError: There is no such sweep, or its files are damaged.
    """
    root = root_of(options.root)
    if options.all:
        return _all(root, options)
    status = status_of(find_sweep(root, options.sweep))
    if options.format == "json":
        print(json.dumps(as_json(status), indent=1))
        return 0
    print("\n".join(lines(status)))
    _print_summary(status)
    return 0


def _all(root: Path, options: argparse.Namespace) -> int:
    """Print every sweep that can be read; 1 = some cannot."""
    if options.sweep is not None:
        raise ConfigError(f"--all is every sweep; leave '{options.sweep}' or --all out.")
    content, code = [], 0
    for sweep in sweeps_below(root):
        try:
            status = status_of(sweep)
            if options.format == "json":
                content.append(as_json(status))
            else:
                _print_summary(status)
        except StoreError as error:
            code = 1
            print(f"sweep {sweep.name}: {error}", file=sys.stderr)
    if options.format == "json":
        print(json.dumps(content, indent=1))
    return code


def _print_summary(status: SweepStatus) -> None:
    print(summary(status))
    if status.note:
        print(f"note: {status.note}")


def as_json(status: SweepStatus) -> dict[str, Any]:
    """Everything that is known of a sweep, as plain JSON values."""
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
                "overrides": item.job.overrides() or [],
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
