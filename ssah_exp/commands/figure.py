"""`ssah-exp figure`: pictures from the records of an artefact."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.commands.records import some_records
from ssah_exp.config.validate import PROBE
from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.options.figure import SETTING, SHARE
from ssah_exp.reporting.artefacts import FIGURES
from ssah_exp.reporting.curve_figure import draw_curve
from ssah_exp.reporting.curves import Across, curves_of
from ssah_exp.reporting.drawing import numbered

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
    if options.by != SETTING:
        pictures = _curves(options)
    elif options.of is not None:
        raise ConfigError("--of has an effect with --by share or KEY only.")
    else:
        figures = FIGURES[options.artefact]
        records = some_records(options, options.artefact)
        pictures = figures.draw(records, Path(options.out or figures.out), options.style)
    for path in pictures:
        print(f"wrote {path} and {path.with_suffix('.csv').name}")
    return 0


def _curves(options: argparse.Namespace) -> list[Path]:
    if options.artefact == PROBE:
        raise ConfigError(f"{PROBE} changes no share of the parameters.")
    across = Across(None if options.by == SHARE else options.by, options.of or SCU)
    curves = curves_of(some_records(options, options.artefact), across)
    places = numbered(Path(options.out or "curve.png"), len(curves))
    for records, place in zip(curves, places, strict=True):
        draw_curve(records, place, across, options.style)
    return places
