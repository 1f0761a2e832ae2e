"""`ssah-exp tables`: a table from all records of an artefact."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from ssah_exp.commands.records import some_records
from ssah_exp.config.artefacts import ARTEFACTS
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.text import format_frame, machine_text


def execute(options: argparse.Namespace) -> int:
    """Print the table of an artefact or, if none is named, which artefacts have records.

    Raises:
        ConfigError: Unknown artefact.
        StoreError: There is no record.
    """
    name = options.artefact
    if name is not None and name not in ARTEFACTS:
        raise ConfigError(f"Unknown artefact '{name}'.{did_you_mean(name, ARTEFACTS)}")
    if name is not None:
        print(render_artefact(some_records(options, name), options.format))
        return 0
    print(_listed(some_records(options), options.format))
    return 0


def _listed(records: Sequence[RunRecord], form: str) -> str:
    """One line per artefact: runs, seeds, when the last one ended."""
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[record.artefact].append(record)
    lines = [
        {
            "artefact": name,
            "runs": str(len(runs)),
            "seeds": ", ".join(str(seed) for seed in sorted({run.seed for run in runs})),
            "newest": runs[-1].finished,
        }
        for name, runs in sorted(groups.items())
    ]
    frame = pd.DataFrame(lines)
    return machine_text(frame, form) if form in ("csv", "json") else format_frame(frame, form)
