"""Each pruned class before its null: what pruning as many other units does, draw by draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.drawn_asr import PRIMARY, DrawnAsr
from ssah_exp.reporting.drawn_rows import drawn_rows
from ssah_exp.reporting.figures.drawing import (
    CLASS_COLOURS,
    CONTROL_COLOURS,
    CONTROL_MARKERS,
    PAGE,
    log_where_wide,
    named_once,
    new_figure,
    on_the_edge,
    save_figure,
    styled,
    whiskers,
)
from ssah_exp.reporting.figures.legends import legend_below
from ssah_exp.reporting.figures.names import named_below, seeds_in_title, set_to, shortened
from ssah_exp.reporting.settings import level_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ITSELF = "class"
_DENSE = (ALIGNED, UNALIGNED)
_FOR_A_BOX = 5
_SIDE_BY_SIDE = 12  # classes and sets; more lie below one another
# Where the draws stand beside the class.
_PLACES = {"random": -0.2, "matched": 0.2, "shifted": 0.36, "normed": -0.36}


def null_rows(records: Sequence[RunRecord], asr: DrawnAsr = PRIMARY) -> pd.DataFrame:
    """One row per metric of every arm of a pruning table that is dense or has the primary fill.

    Args:
        records: Records of one setting, one per seed.
        asr: Which ASR.

    Returns:
        ``metric`` (``asr`` in percent, ``perplexity``), ``class`` (or ``aligned``,
        ``unaligned``), ``what`` (``class`` or one of ``CONTROLS``), ``seed``, ``draw``,
        ``value``, ``low``, ``high``, ``n``.

    Raises:
        ConfigError: No record measured that ASR.
        StoreError: There are no records.
    """
    if not records:
        raise StoreError("There are no records to draw.")
    fill = records[0].config["ablation"]["primary_fill"]

    def arms(record: RunRecord) -> Iterator[tuple[ArmRecord, dict[str, Any]]]:
        for arm in record.arms:
            if arm.fill in (None, fill):
                yield arm, {"class": arm.label, "what": arm.control or _ITSELF}

    return drawn_rows(records, asr, arms)


@styled()
def draw_null(records: Sequence[RunRecord], path: Path, asr: DrawnAsr = PRIMARY) -> Path:
    """Draw ASR and perplexity of every class, with all its control draws beside it.

    Few classes and sets stand side by side; many lie below one another, on a page as tall as they
    need.

    Args:
        records: Records of one setting of a pruning table, one per seed.
        path: Where to write; the suffix decides the format.
        asr: Which ASR.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: No record measured that ASR, or a suffix that cannot be written.
        StoreError: There are no records.
    """
    rows = null_rows(records, asr)
    classes = list(dict.fromkeys(rows.loc[~rows["class"].isin(_DENSE), "class"]))
    lying = len(classes) > _SIDE_BY_SIDE
    along: Literal["x", "y"] = "x" if lying else "y"
    figure = new_figure(PAGE, _height(rows, len(classes)) if lying else 3.2)
    figure.suptitle(_title(records))
    left, right = figure.subplots(1, 2, sharey=lying)
    _panel(left, rows[rows["metric"] == "asr"], classes, along)
    left.set(
        **{f"{along}label": asr.label(records[0].config["evaluation"])},
        **{f"{along}lim": (-3, 103)},
    )
    _perplexity(right, rows[rows["metric"] == PERPLEXITY], classes, along)
    legend_below(figure, left, columns=4, title=_note(rows, level_of(records[0])))
    return save_figure(figure, path, rows)


def _title(records: Sequence[RunRecord]) -> str:
    config = records[0].config
    budgets, fill = config["units"]["budgets"], config["ablation"]["primary_fill"]
    return (
        f"{config['model']['name']}\n"
        f"{config['data']['name']}, SCU budget {100 * budgets['scu']:g} % of {budgets['unit']}, "
        f"{set_to(fill)}{seeds_in_title(len(records))}"
    )


def _note(rows: pd.DataFrame, level: str) -> str:
    """What lines and boxes are."""
    note = f"lines: {level} interval of one seed, over prompts or windows of text"
    draws = rows[rows["draw"].notna()].dropna(subset="value")
    boxed = draws.groupby(["metric", "class", "what"]).size() >= _FOR_A_BOX
    return f"{note}; boxes: quartiles of draws" if boxed.any() else note


def _perplexity(
    axes: Axes, rows: pd.DataFrame, classes: Sequence[str], along: Literal["x", "y"]
) -> None:
    """The panel of perplexities, some of which may be infinite, or all missing."""
    edge = ("rightmost", 1.0) if along == "x" else ("highest", 0.98)
    drawn = on_the_edge(axes, rows, ("value", "low", "high"), *edge)
    _panel(axes, drawn, classes, along)
    axes.set(**{f"{along}label": "perplexity"})
    log_where_wide(axes, along)


def _height(rows: pd.DataFrame, classes: int) -> float:
    """Inches that so many lying classes need: more where draws lie beside them."""
    return 1.2 + classes * (0.2 if rows["draw"].isna().all() else 0.32)


def _panel(
    axes: Axes, rows: pd.DataFrame, classes: Sequence[str], along: Literal["x", "y"]
) -> None:
    """One quantity, ``along`` the axis of its values."""
    lying = along == "x"
    for name, line in zip(_DENSE, ("-", ":"), strict=True):
        dense = rows[rows["class"] == name].dropna(subset="value")
        if not dense.empty:
            draw_line = axes.axvline if lying else axes.axhline
            draw_line(
                _mean(dense), color="black", linewidth=0.8, linestyle=line,
                label=f"{name}, nothing pruned",
            )  # fmt: skip
    for place, name in enumerate(classes):
        here = rows[rows["class"] == name]
        for control, beside in _PLACES.items():
            marker, colour = CONTROL_MARKERS[control], CONTROL_COLOURS[control]
            draws = here.loc[here["what"] == control, "value"].dropna().to_numpy()
            _draws(axes, draws, place + beside, marker, colour, f"{control}, draw by draw", along)
        _seeds(axes, here[here["what"] == _ITSELF], place, name, along)
    _places(axes, classes, lying)
    named_once(axes)


def _mean(rows: pd.DataFrame) -> float:
    """Over seeds, as tables have it: of perplexities the geometric one."""
    if (rows["metric"] == PERPLEXITY).all():
        return float(np.exp(np.log(rows["value"]).mean()))
    return float(rows["value"].mean())


def _places(axes: Axes, classes: Sequence[str], lying: bool) -> None:
    """Name the classes along the other axis, which ends behind the last one's draws."""
    end = len(classes) - 1 + 0.6
    if lying:
        axes.set_yticks(range(len(classes)), shortened(classes))
        axes.set_ylim(end, -1.2)  # from the top; above the first is the note's room
    else:
        named_below(axes, classes)
        axes.set_xlim(right=end)
    axes.grid(visible=False, axis="y" if lying else "x")


def _draws(
    axes: Axes,
    draws: np.ndarray[Any, Any],
    place: float,
    marker: str,
    colour: str,
    label: str,
    along: Literal["x", "y"],
) -> None:
    """Every draw, and a box over them where there are enough for quartiles."""
    if draws.size == 0:
        return
    if draws.size >= _FOR_A_BOX:
        axes.boxplot(
            [draws],
            positions=[place],
            orientation="horizontal" if along == "x" else "vertical",
            widths=0.13,
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.25, "linewidth": 0.6},
            medianprops={"color": colour},
            whiskerprops={"linewidth": 0.6},
            capprops={"linewidth": 0.6},
            zorder=1,
        )
    spread = np.linspace(-0.05, 0.05, draws.size) if draws.size > 1 else np.zeros(1)
    points = (draws, place + spread) if along == "x" else (place + spread, draws)
    axes.plot(*points, marker, color=colour, markersize=4, label=label, zorder=2)


def _seeds(
    axes: Axes, rows: pd.DataFrame, place: float, name: str, along: Literal["x", "y"]
) -> None:
    """The class itself, with a point and an interval per seed."""
    count = len(rows)
    widest = 0.12 if along == "x" else 0.06  # rows are lower than columns are wide
    shifts = np.linspace(-widest, widest, count) if count > 1 else np.zeros(count)
    values = rows["value"].to_numpy(float)
    lows, highs = (rows[end].to_numpy(float) for end in ("low", "high"))
    across, spans = along == "x", whiskers(values, lows, highs)
    x, y = (values, place + shifts) if across else (place + shifts, values)
    axes.errorbar(
        x,
        y,
        xerr=spans if across else None,
        yerr=None if across else spans,
        fmt="o",
        color=CLASS_COLOURS.get(name, "black"),
        markersize=4 if across else 6,
        elinewidth=1,
        label=f"{name if name in CLASS_COLOURS else 'sets by name'}, a point a seed",
        zorder=3,
    )
