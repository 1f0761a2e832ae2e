"""The flow of units between classes over the steps of a training, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.reporting.figures.drawing import CLASS_COLOURS, PAGE, new_figure, save_figure, styled
from ssah_exp.reporting.figures.legends import legend_below
from ssah_exp.reporting.transfer_rows import track_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled()
def draw_track(track: Sequence[dict[str, Any]], name: str, path: Path) -> Path:
    """Draw, for each class before training, which classes its units have at every look.

    Args:
        track: Looks at one arm, as in its record.
        name: The arm's name.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    rows = track_rows(track)
    figure = new_figure(PAGE, 2.7)
    figure.suptitle(f"{name}: classes of units while it is trained")
    panels = figure.subplots(1, len(CLASSES), sharey=True)
    for axes, before in zip(panels, CLASSES, strict=True):
        _panel(axes, rows[rows["from"] == before], before)
    panels[0].set_ylabel("% of the class before training")
    legend_below(figure, panels[0], columns=4)
    return save_figure(figure, path, rows)


def _panel(axes: Axes, rows: pd.DataFrame, before: str) -> None:
    """Stacked shares; the class itself lies at the bottom, so that its edge is what is left."""
    steps = rows["step"].unique()
    units = int(rows.loc[rows["step"] == steps[0], "units"].sum())
    # First what a class keeps, then the other classes in their usual order.
    order = [before, *(name for name in CLASSES if name != before)]
    by_class = rows.groupby("to")["of_before_pct"]
    shares = [by_class.get_group(after).fillna(0).to_numpy() for after in order]
    colours = [CLASS_COLOURS[after] for after in order]
    bands = axes.stackplot(steps, np.stack(shares), colors=colours, alpha=0.9, linewidth=0)
    for after, band in zip(order, bands, strict=True):
        band.set_label(f"now {after}")
    axes.plot(steps, shares[0], color="black", linewidth=1, marker="o", markersize=2.5)
    axes.set_xlim(float(steps[0]), float(max(steps[-1], steps[0] + 1)))
    axes.set_ylim(0, 100)
    axes.set_title(f"{before}, {units:,} units")
    axes.set_xlabel("optimizer step")
