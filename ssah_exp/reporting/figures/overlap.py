"""Overlaps of a class between models: as rows, and drawn against chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ssah_exp.reporting.figures.drawing import CLASS_COLOURS, PAGE, new_figure, save_figure, styled
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.overlap import Overlap


def overlap_rows(found: Sequence[Overlap]) -> pd.DataFrame:
    """One row per pair of models."""
    return pd.DataFrame(
        {
            "first": [item.first for item in found],
            "second": [item.second for item in found],
            "first_units": [item.units[0] for item in found],
            "second_units": [item.units[1] for item in found],
            "shared": [item.shared for item in found],
            "jaccard": [item.jaccard for item in found],
            "chance_mean": [item.chance.mean for item in found],
            "chance_low": [item.chance.low for item in found],
            "chance_high": [item.chance.high for item in found],
            "p_at_chance": [item.at_chance for item in found],
        }
    )


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
    axes.barh(
        places, highs - lows, 0.6, lows, color="#999999", alpha=0.8, label="equal layer mix, 95 %"
    )
    axes.plot(
        rows["jaccard"], places, "o", color=CLASS_COLOURS[unit_class.name], label=unit_class.name
    )
    axes.set_yticks(places, list(rows["first"] + " / " + rows["second"]))
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)  # whole marks at both ends
    axes.set_xlabel(f"Jaccard overlap of {unit_class.name}")
    axes.grid(visible=False, axis="y")
    axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return save_figure(figure, path, rows)
