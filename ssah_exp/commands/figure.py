"""`ssah-exp figure`: pictures from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.commands.records import some_records
from ssah_exp.config.artefacts import PROBE
from ssah_exp.errors import ConfigError, did_you_mean, printable
from ssah_exp.options.figure import SETTING, SHARE
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.across import Across
from ssah_exp.reporting.artefacts import FIGURES, Drawn
from ssah_exp.reporting.curves import curve_rows, curves_of
from ssah_exp.reporting.drawn_asr import DrawnAsr
from ssah_exp.reporting.figures.curve import draw_curve
from ssah_exp.reporting.figures.drawing import check_picture, numbered

SCU = "SCU"


def execute(options: argparse.Namespace) -> int:
    """Draw a picture per setting of the artefact; if there are several, they are numbered.

    Raises:
        ConfigError: An artefact without a figure, or an option that it would ignore.
        StoreError: The artefact has no record.
    """
    if options.artefact not in FIGURES:
        raise ConfigError(
            f"No figure of '{options.artefact}'.{did_you_mean(options.artefact, FIGURES)}"
        )
    if options.by != SETTING:
        pictures = _curves(options)
    elif options.of is not None:
        raise ConfigError("--of has an effect with --by share or KEY only.")
    else:
        pictures = _settings(options)
    several = len({_whose(records) for _, records in pictures}) > 1
    for path, records in pictures:
        wrote = f"wrote {path} and {path.with_suffix('.csv').name}"
        print(printable(f"{wrote}: {_whose(records)}") if several else wrote)
    return 0


def _settings(options: argparse.Namespace) -> Drawn:
    figures = FIGURES[options.artefact]
    records = some_records(options, options.artefact)
    return figures.draw(records, Path(options.out or figures.out), _asr(options))


def _asr(options: argparse.Namespace) -> DrawnAsr:
    return DrawnAsr(options.style, options.judge)


def _whose(records: Sequence[RunRecord]) -> str:
    """Models and runs of a picture: titles are short, and settings may differ in anything."""
    models = ", ".join(dict.fromkeys(record.config["model"]["name"] for record in records))
    runs = ", ".join(record.run_id for record in records)
    return f"{models}, run{'s' if len(records) > 1 else ''} {runs}"


def _curves(options: argparse.Namespace) -> Drawn:
    if options.artefact == PROBE:
        raise ConfigError(f"{PROBE} changes no share of the parameters.")
    across = Across(None if options.by == SHARE else options.by, options.of or SCU)
    curves = curves_of(some_records(options, options.artefact), across)
    places = numbered(Path(options.out or "curve.png"), len(curves))
    for records, place in zip(curves, places, strict=True):  # all or none
        curve_rows(records, across, _asr(options))
        check_picture(place)
    for records, place in zip(curves, places, strict=True):
        draw_curve(records, place, across, _asr(options))
    return list(zip(places, curves, strict=True))
