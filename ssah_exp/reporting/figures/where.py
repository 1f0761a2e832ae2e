"""Where units live: counts per layer, kind and class, as rows, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssah_exp.reporting.figures.drawing import CLASS_COLOURS, PAGE, new_figure, save_figure, styled
from ssah_exp.reporting.figures.legends import legend_below
from ssah_exp.reporting.figures.names import model_in_words
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.index import KIND_NAMES
from ssah_exp.units.summary import where_counts
from ssah_exp.units.unitmap import UnitMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From bottom to top: the rare class first, where its height can be read, the bulk last.
_ORDER = ("SCU", "UCU", "RU", "CU")
_RARE = "SCU"


def where_rows(units: UnitMap) -> pd.DataFrame:
    """One row per layer (from 0), kind and class.

    Returns:
        ``layer``, ``kind``, ``class``, ``units``, ``of_layer_pct`` (share of the layer's heads or
        neurons) and ``of_class_pct`` (share of the class; empty where it has no units).
    """
    table = where_counts(units)
    sizes, whole = table.sum(axis=2), table.sum(axis=(0, 1))
    rows: list[dict[str, Any]] = [
        {
            "layer": layer,
            "kind": name,
            "class": item.name,
            "units": int(table[layer, kind, item]),
            "of_layer_pct": 100 * float(table[layer, kind, item]) / float(sizes[layer, kind]),
            "of_class_pct": (
                100 * float(table[layer, kind, item]) / float(whole[item]) if whole[item] else None
            ),
        }
        for layer in range(units.anatomy.layers)
        for kind, name in enumerate(KIND_NAMES)
        for item in UnitClass
    ]
    return pd.DataFrame(rows).astype({"of_class_pct": "float64"})


@styled()
def draw_where(units: UnitMap, path: Path) -> Path:
    """Draw the classes of heads and of neurons, layer by layer.

    Args:
        units: The map to draw.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    rows = where_rows(units)
    figure = new_figure(PAGE, 4.2)
    origin = units.provenance
    figure.suptitle(f"{model_in_words(origin.model)}, revision {origin.revision}")
    panels = figure.subplots(2, 2, sharex=True, width_ratios=(1.2, 1))
    for (left, right), kind in zip(panels, KIND_NAMES, strict=True):
        here = rows[rows["kind"] == kind]
        _stacked(left, here, kind)
        _single(right, here, kind)
    for axes in panels[1]:
        axes.set_xlabel("layer, from 0")
    legend_below(figure, panels[0][0], columns=4)
    return save_figure(figure, path, rows)


def _stacked(axes: Axes, rows: pd.DataFrame, kind: str) -> None:
    layers = rows["layer"].unique()
    below = np.zeros(len(layers))
    for name in _ORDER:
        shares = rows.loc[rows["class"] == name, "of_layer_pct"].to_numpy()
        axes.bar(layers, shares, 0.9, below, color=CLASS_COLOURS[name], label=name, linewidth=0)
        below += shares
    per_layer = int(rows.loc[rows["layer"] == layers[0], "units"].sum())
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"% of {kind}s")
    axes.set_title(f"{kind}s, {per_layer:,} a layer")


def _single(axes: Axes, rows: pd.DataFrame, kind: str) -> None:
    here = rows[rows["class"] == _RARE]
    axes.bar(here["layer"], here["units"], 0.9, color=CLASS_COLOURS[_RARE], linewidth=0)
    total = int(here["units"].sum())
    axes.set_title(f"{_RARE}: {total:,} {kind}s")
    axes.set_ylabel(f"{_RARE} {kind}s")
    if total == 0:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
    axes.set_ylim(0, max(1.0, 1.05 * float(here["units"].max())))
