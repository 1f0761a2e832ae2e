"""The atlas over ways to calibrate as a picture: settings beside their ceiling, and the sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssah_exp.models.sizes import Anatomy
from ssah_exp.reporting.atlas_rows import inclusion_table, setting_rows
from ssah_exp.reporting.figures.drawing import (
    CLASS_COLOURS,
    CLASS_MARKERS,
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
from ssah_exp.reporting.figures.legends import legend_below
from ssah_exp.reporting.figures.names import named_in_rows
from ssah_exp.units.calibration_settings import SettingsAtlas

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled()
def draw_atlas(atlas: SettingsAtlas, anatomy: Anatomy, path: Path) -> list[Path]:
    """Draw settings beside their ceiling and, if there are sizes, the curve over them.

    Args:
        atlas: What was compared.
        anatomy: Of the model.
        path: Where to write; the suffix decides the format.

    Returns:
        Two CSVs with the numbers, beside the picture: of settings and sizes, and of units.

    Raises:
        ConfigError: A suffix that cannot be written, or a table of somebody else's in the way.
    """
    check_picture(path, units_table(path))
    height = 1.3 + 0.27 * len(atlas.compared)
    if atlas.sizes:
        figure = new_figure(PAGE, max(height, 2.8))
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _sizes(right, atlas)
    else:
        figure = new_figure(PAGE * 0.75, max(height, 2.8))
        left = figure.subplots()
    _settings(left, atlas)
    legend_below(figure, left, columns=5)
    tables = [save_figure(figure, path, setting_rows(atlas))]
    return [*tables, save_numbers(units_table(path), inclusion_table(atlas, anatomy))]


def _settings(axes: Axes, atlas: SettingsAtlas) -> None:
    """Jaccard overlap of two resamples with its interval; hollow marks: of all examples."""
    places = np.arange(len(atlas.compared))
    for number, (name, marker) in enumerate(CLASS_MARKERS.items()):
        shift = places + 0.16 * (number - 1.5)
        drawn = [item.drawn for item in atlas.compared]
        means, lows, highs = ends_of([None if one is None else one.jaccard[name] for one in drawn])
        axes.errorbar(
            means, shift, xerr=whiskers(means, lows, highs), fmt=marker,
            color=CLASS_COLOURS[name], markersize=4.5, elinewidth=1, label=name,
        )  # fmt: skip
        whole = np.array([item.jaccard[name] for item in atlas.compared], dtype=float)
        axes.plot(
            whole, shift, marker, markerfacecolor="none", color=CLASS_COLOURS[name], markersize=4.5,
            linewidth=0, label="hollow: all examples" if number == 0 else "_",
        )  # fmt: skip
    for place, item in enumerate(atlas.compared):
        if item.floor:
            axes.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.06, linewidth=0)
    named_in_rows(axes, [_label(item.name, item.differs) for item in atlas.compared])
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("Jaccard overlap with the run's class (grey: floors)")


def _label(name: str, differs: str) -> str:
    return f"{name} ({differs})" if differs else f"{name}, drawn twice"


def _sizes(axes: Axes, atlas: SettingsAtlas) -> None:
    sizes = [curve.size or 0 for curve in atlas.sizes]
    for name, marker in CLASS_MARKERS.items():
        means, lows, highs = ends_of([curve.jaccard[name] for curve in atlas.sizes])
        axes.plot(sizes, means, color=CLASS_COLOURS[name], marker=marker, markersize=4.5)
        axes.fill_between(sizes, lows, highs, color=CLASS_COLOURS[name], alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("examples of each set")
    axes.set_ylabel("Jaccard of two disjoint draws")
