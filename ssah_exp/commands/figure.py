"""`ssah-exp figure`: pictures from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.paths import runs_root
from ssah_exp.config.validate import PROBE
from ssah_exp.errors import ConfigError, StoreError, did_you_mean
from ssah_exp.options.figure import SHARE
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, read_folder
from ssah_exp.reporting.artefacts import FIGURES
from ssah_exp.reporting.drawing import numbered
from ssah_exp.reporting.share_figure import curves_of, draw_shares

SCU = "SCU"


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
    if options.by == SHARE:
        pictures = _by_share(options)
    elif options.of is not None:
        raise ConfigError("--of has an effect with --by share only.")
    else:
        figures = FIGURES[options.artefact]
        pictures = figures.draw(_records(options), Path(options.out or figures.out), options.style)
    for path in pictures:
        print(f"wrote {path} and {path.with_suffix('.csv').name}")
    return 0


def _by_share(options: argparse.Namespace) -> list[Path]:
    if options.artefact == PROBE:
        raise ConfigError(f"{PROBE} changes no share of the parameters.")
    unit_class = options.of or SCU
    curves = curves_of(_records(options), unit_class)
    places = numbered(Path(options.out or "shares.png"), len(curves))
    for records, place in zip(curves, places, strict=True):
        draw_shares(records, place, unit_class, options.style)
    return places


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
