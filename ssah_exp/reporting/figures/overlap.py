"""Overlaps of a class between models, as a picture against chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssah_exp.reporting.figures.drawing import (
    CLASS_COLOURS,
    GREY,
    PAGE,
    new_figure,
    save_figure,
    styled,
)
from ssah_exp.reporting.figures.legends import legend_above
from ssah_exp.reporting.figures.names import named_in_rows
from ssah_exp.reporting.overlap_rows import overlap_rows
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.overlap import Overlap


@styled()
def draw_overlap(found: Sequence[Overlap], unit_class: UnitClass, path: Path) -> Path:
    """Draw every pair's Jaccard overlap as a point on the interval expected by chance.

    Args:
        found: From :func:`ssah_exp.units.overlap.overlaps`.
        unit_class: The class that was compared.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    rows = overlap_rows(found).astype({"jaccard": "float64"})
    figure = new_figure(PAGE, 1.1 + 0.26 * len(rows))
    axes = figure.subplots()
    places = np.arange(len(rows))
    lows, highs = (rows[name].fillna(0).to_numpy(float) for name in ("chance_low", "chance_high"))
    axes.barh(places, highs - lows, 0.6, lows, color=GREY, label="equal layer mix, 95%")
    axes.plot(
        rows["jaccard"], places, "o", color=CLASS_COLOURS[unit_class.name], label=unit_class.name
    )
    named_in_rows(axes, list(rows["first"] + " / " + rows["second"]))
    axes.set_xlim(-0.02, 1.02)  # whole marks at both ends
    axes.set_xlabel(f"Jaccard overlap of {unit_class.name}")
    legend_above(axes, columns=2)
    return save_figure(figure, path, rows)
