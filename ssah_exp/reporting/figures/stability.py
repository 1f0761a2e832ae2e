"""The stability atlas as a picture: agreement per class, and how often each unit is in SCU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssah_exp.models.sizes import Anatomy
from ssah_exp.reporting.figures.drawing import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    COLUMN,
    PAGE,
    check_picture,
    ends_of,
    new_figure,
    save_figure,
    save_numbers,
    styled,
    units_table,
    whiskers,
)
from ssah_exp.reporting.figures.legends import legend_above
from ssah_exp.reporting.stability_rows import agreement_rows, inclusion_rows
from ssah_exp.units.stability import StabilityAtlas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled()
def draw_stability(atlas: StabilityAtlas, anatomy: Anatomy, path: Path) -> list[Path]:
    """Draw an atlas.

    Args:
        atlas: What was compared.
        anatomy: The model's anatomy.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSVs with the numbers, beside the picture: comparisons and, where examples were
        resampled, units.

    Raises:
        ConfigError: A suffix that cannot be written, or a table of somebody else's in the way.
    """
    resampled = atlas.inclusion is not None
    check_picture(path, *([units_table(path)] if resampled else []))
    figure = new_figure(PAGE if resampled else COLUMN * 1.3, 3.2)
    if resampled:
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        _inclusion(right, atlas, anatomy)
    else:
        left = figure.subplots()
    _agreements(left, atlas)
    tables = [save_figure(figure, path, agreement_rows(atlas))]
    if resampled:
        tables.append(save_numbers(units_table(path), inclusion_rows(atlas, anatomy)))
    return tables


def _agreements(axes: Axes, atlas: StabilityAtlas) -> None:
    places = np.arange(len(atlas.agreements))
    for number, (name, marker) in enumerate(CLASS_MARKERS.items()):
        # A gap where a class is empty, and no whiskers where there is one draw.
        means, lows, highs = ends_of([item.jaccard[name] for item in atlas.agreements])
        axes.errorbar(
            places + 0.13 * (number - 1.5),
            means,
            yerr=whiskers(means, lows, highs),
            fmt=marker,
            color=CLASS_COLOURS[name],
            elinewidth=0.8,
            label=name,
        )
    labels = [item.name.replace("subsample ", "n = ") for item in atlas.agreements]
    axes.set_xticks(places, labels)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("Jaccard overlap of the class")
    axes.grid(visible=False, axis="x")
    legend_above(axes, columns=4)


def _inclusion(axes: Axes, atlas: StabilityAtlas, anatomy: Anatomy) -> None:
    rows = inclusion_rows(atlas, anatomy)
    rank = np.arange(1, len(rows) + 1)
    axes.fill_between(rank, rows["inclusion"], step="mid", color=CLASS_COLOURS["SCU"], alpha=0.35)
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.axvline(int(rows["in_reference"].sum()), color="black", linewidth=0.8, linestyle="--")
    axes.annotate(
        "size of the SCU\nof all examples", (int(rows["in_reference"].sum()), 1.0), (4, 0),
        textcoords="offset points", va="top",
    )  # fmt: skip
    axes.annotate("consensus", (len(rows), 0.5), (0, 3), textcoords="offset points", ha="right")
    axes.set_xlim(0, max(len(rows), 1))
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("units ever in SCU, most frequent first")
    axes.set_ylabel("share of resamples with the unit in SCU")
