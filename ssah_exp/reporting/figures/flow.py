"""Figures 5 and 6: which units changed class, as a flow diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssah_exp.reporting.figures.drawing import CLASS_COLOURS, PAGE, new_figure, save_figure, styled
from ssah_exp.reporting.figures.legends import legend_above
from ssah_exp.reporting.figures.names import model_in_words, named_in_rows
from ssah_exp.reporting.transfer_rows import became, transfer_rows
from ssah_exp.units.transfer import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 0.05  # between the blocks of one side, in shares of all units
_WIDTH = 0.035  # of a block
_WRITTEN = 0.07  # bars narrower than this share carry no number


@styled()
def draw_flow(flow: Flow, names: tuple[str, str], path: Path) -> Path:
    """Draw where every class went: in true proportion, and each class by itself.

    Args:
        flow: One table, normally that of all units.
        names: Of the model before and the model after.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    figure = new_figure(PAGE, 3.6)
    figure.suptitle("before: {}\nafter: {}".format(*map(model_in_words, names)))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _ribbons(left, flow)
    _bars(right, flow)
    return save_figure(figure, path, transfer_rows([flow]))


def _ribbons(axes: Axes, flow: Flow) -> None:
    shares = flow.shares()
    starts = _blocks(axes, shares.sum(axis=1), flow.before, 0.0)
    ends = _blocks(axes, shares.sum(axis=0), flow.after, 1.0)
    for row, before in enumerate(flow.before):
        for column in range(len(flow.after)):
            height = float(shares[row, column])
            if height > 0:
                _ribbon(axes, starts[row], ends[column], height, CLASS_COLOURS[before])
            starts[row] -= height
            ends[column] -= height
    axes.set_xlim(-0.34, 1.34)
    axes.set_axis_off()
    axes.set_ylim(-1.02 - _GAP * (max(flow.units.shape) - 1), 0.02)
    for place, name in ((0, "before"), (1, "after")):
        axes.annotate(
            name, (place, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom"
        )
    axes.set_title("All units, in true proportion", pad=22)


def _blocks(
    axes: Axes, sizes: NDArray[np.float64], names: Sequence[str], place: float
) -> list[float]:
    """Draw one side's blocks from the top; returns where each begins."""
    tops, top = [], 0.0
    for name, size in zip(names, sizes, strict=True):
        left = place - _WIDTH / 2
        axes.bar(left, -size, _WIDTH, top, align="edge", color=CLASS_COLOURS[name], linewidth=0)
        side, align = (place - 0.04, "right") if place == 0 else (place + 0.04, "left")
        label = f"{name}  {100 * size:.1f} %"
        axes.text(side, top - size / 2, label, ha=align, va="center")
        tops.append(top)
        top -= float(size) + _GAP
    return tops


def _ribbon(axes: Axes, start: float, end: float, height: float, colour: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    near, far, middle = _WIDTH / 2, 1 - _WIDTH / 2, 0.5
    corners = [
        (near, start),
        (middle, start),
        (middle, end),
        (far, end),
        (far, end - height),
        (middle, end - height),
        (middle, start - height),
        (near, start - height),
        (near, start),
    ]
    curve = [Outline.CURVE4] * 3
    codes = [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY]
    outline = Outline(corners, codes)
    # The edge keeps a ribbon of a few units visible.
    axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor=colour, alpha=0.5, linewidth=0.4))


def _bars(axes: Axes, flow: Flow) -> None:
    counts = flow.units.sum(axis=1)
    places = np.arange(len(flow.before))
    begin = np.zeros(len(flow.before))
    for after in flow.after:
        moved = [became(flow, before, after).value or 0.0 for before in flow.before]
        colour = CLASS_COLOURS[after]
        axes.barh(places, moved, 0.62, begin, color=colour, edgecolor="white", label=after)
        for place, start, size in zip(places, begin, moved, strict=True):
            if size >= _WRITTEN:
                axes.text(
                    float(start) + size / 2,
                    float(place),
                    f"{100 * size:.0f}",
                    color="black" if after == "CU" else "white",
                    ha="center",
                    va="center",
                )
        begin += moved
    labels = [f"{name}\n{n:,} units" for name, n in zip(flow.before, counts, strict=True)]
    named_in_rows(axes, labels)
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6), [f"{tick:.0f}" for tick in np.linspace(0, 100, 6)])
    axes.set_xlabel("% of the class before; colour = class after")
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="x")
    axes.tick_params(left=False)
    legend_above(axes, columns=4)
    axes.set_title("Each class by itself", pad=22)
