"""Where legends stand: below all panels, or above or beside one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def legend_below(
    figure: Figure,
    axes: Axes,
    columns: int,
    title: str | None = None,
    renamed: Mapping[str, str] | None = None,
) -> None:
    """One legend for all panels, below them.

    Args:
        figure: The panels' figure.
        axes: The panel whose labels are taken.
        columns: How many labels stand side by side.
        title: A note above them.
        renamed: Label -> what stands there in its place.
    """
    handles, labels = axes.get_legend_handles_labels()
    names = [(renamed or {}).get(label, label) for label in labels]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, title=title)


def legend_above(axes: Axes, columns: int) -> None:
    """A legend upon the frame of the axes."""
    axes.legend(ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1))


def legend_beside(axes: Axes) -> None:
    """A legend right of the axes, whose marks may be anywhere."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
