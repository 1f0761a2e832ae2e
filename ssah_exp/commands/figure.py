"""`ssah-exp figure`: pictures from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, read_folder
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
    if options.records is not None and options.root is not None:
        raise ConfigError("--records and --root both say where records lie; give one.")
    figures = FIGURES[options.artefact]
    out = Path(options.out or figures.out)
    for path in figures.draw(_records(options), out, options.style):
        print(f"wrote {path} and {path.with_suffix('.csv').name}")
    return 0


def _records(options: argparse.Namespace) -> list[RunRecord]:
    if options.records is not None:
        place = Path(options.records)
        found = [item for item in read_folder(place) if item.artefact == options.artefact]
    else:
        place = Path(options.root) if options.root else runs_root()
        found = RecordStore(place).read(options.artefact)
    if not found:
        raise StoreError(f"No record of {options.artefact} below {place}.")
    return found
