"""`ssah-exp tables`: a table from all records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.config.validate import ARTEFACTS
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.artefacts import render_artefact


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print the table.

    Raises:
        ConfigError: Unknown artefact.
        StoreError: There is no record of it.
    """
    if options.artefact not in ARTEFACTS:
        raise ConfigError(
            f"Unknown artefact '{options.artefact}'.{did_you_mean(options.artefact, ARTEFACTS)}"
        )
    root = Path(options.root) if options.root else runs_root()
    records = RecordStore(root).read(options.artefact)
    if not records:
        raise StoreError(
            f"No record of {options.artefact} below {root}. Make one with: "
            f"ssah-exp run experiment={options.artefact}"
        )
    print(render_artefact(records, options.format))
    return 0
