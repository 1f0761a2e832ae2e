"""`ssah-exp figure`: pictures from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.artefacts import FIGURES


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Draw every setting of the artefact; several get a number each.

    Raises:
        ConfigError: An artefact without figure, or an option that it would ignore.
        StoreError: There is no record of it.
    """
    if options.artefact not in FIGURES:
        raise ConfigError(
            f"No figure of '{options.artefact}'.{did_you_mean(options.artefact, FIGURES)}"
        )
    root = Path(options.root) if options.root else runs_root()
    records = RecordStore(root).read(options.artefact)
    if not records:
        raise StoreError(f"No record of {options.artefact} below {root}.")
    figures = FIGURES[options.artefact]
    for path in figures.draw(records, Path(options.out or figures.out), options.style):
        print(f"wrote {path} and {path.with_suffix('.csv').name}")
    return 0
