"""ASR and perplexity over a share of parameters or any swept key, beside the controls.

Numbers make a curve. Words, which no order joins, stand side by side without a line between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.across import Across
from ssah_exp.reporting.curves import CHOSEN, categories_of, curve_rows
from ssah_exp.reporting.drawn_asr import PRIMARY, DrawnAsr
from ssah_exp.reporting.figures.drawing import (
    BEYOND,
    CLASS_COLOURS,
    CONTROL_COLOURS,
    CONTROL_MARKERS,
    PAGE,
    log_where_wide,
    new_figure,
    on_the_edge,
    save_figure,
    styled,
    whiskers,
)
from ssah_exp.reporting.figures.legends import legend_below
from ssah_exp.reporting.figures.names import in_lines, named_below, seeds_in_title, set_to

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {CHOSEN: CLASS_COLOURS["SCU"], **CONTROL_COLOURS}
_MARKERS = {CHOSEN: "o", **CONTROL_MARKERS}
_DENSE = {ALIGNED: "-", UNALIGNED: ":", "full": "--"}
_FOR_A_LOG = 4  # the axis is logarithmic if the largest place is so many times the smallest
_OVER = "overflowed"  # rows whose value stands at the edge in place of infinity
_BESIDE = 0.17  # between the class, its control and the next, where words are the places
# Swept keys in words; any other stands by its own name.
_IN_WORDS = {
    "ablation.primary_fill": "what pruned units are set to",
    "units.budgets.scu": "budget of SCU, as a share",
    "units.samples": "calibration examples of each set",
}
_HALF = 0.42  # of a dense model's line at a word


@styled()
def draw_curve(
    records: Sequence[RunRecord], path: Path, across: Across, asr: DrawnAsr = PRIMARY
) -> Path:
    """Draw mean and range over seeds and draws, ASR beside perplexity (geometric mean).

    Args:
        records: One curve; see :func:`ssah_exp.reporting.curves.curves_of`.
        path: Where to write; the suffix decides the format.
        across: What it runs over; where a place is a word, all stand side by side.
        asr: Which ASR.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: No record measured that ASR, or a suffix that cannot be written.
    """
    rows = curve_rows(records, across, asr)
    words, pruned = categories_of(records, across), records[0].artefact == TABLE1
    figure = new_figure(PAGE, 3.2)
    figure.suptitle(_title(records, rows, across))
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, "asr"), (right, PERPLEXITY)):
        measured = rows[rows["metric"] == metric]
        drawn = on_the_edge(axes, measured, ("value",))
        drawn = drawn.assign(**{_OVER: measured["value"].astype("float64") > BEYOND})
        if words:
            _side_by_side(axes, drawn, across, words)
        else:
            _panel(axes, drawn, across)
            _place_ticks(axes, rows, across)
    left.set_ylabel(asr.label(records[0].config["evaluation"]))
    left.set_ylim(-3, 103)
    right.set_ylabel("perplexity")
    log_where_wide(right)
    marks = "marks: mean over seeds and draws, of perplexities the geometric one"
    note = f"{marks}; {'lines' if words else 'bands'}: their range"
    renamed = {CHOSEN: across.unit_class} if pruned else None
    legend_below(figure, left, columns=6, title=note, renamed=renamed)
    return save_figure(figure, path, rows)


def _title(records: Sequence[RunRecord], rows: pd.DataFrame, across: Across) -> str:
    first = records[0]
    what = f"{across.unit_class} pruned"
    if first.artefact != TABLE1:
        what = first.artefact if across.key is None else f"{first.artefact}, {across.unit_class}"
    names = dict.fromkeys(record.config["data"]["name"] for record in records)
    data = [*names] if len(names) == 1 else []  # several are named at the axis
    said = ", ".join([*data, what, f"{_fill(records)}{_seeds(rows, across)}"])
    models = {record.config["model"]["name"] for record in records}
    return said if len(models) > 1 else f"{models.pop()}\n{said}"


def _label(across: Across) -> str:
    """The swept key, in words where there are some."""
    words = _IN_WORDS.get(across.label)
    return across.label if words is None else f"{words} ({across.label})"


def _fill(records: Sequence[RunRecord]) -> str:
    """What pruned units are set to, if it is one thing; a record of training names none."""
    if records[0].artefact != TABLE1:
        return ""
    fills = {record.config["ablation"]["primary_fill"] for record in records}
    return set_to(fills.pop()) if len(fills) == 1 else ""


def _seeds(rows: pd.DataFrame, across: Across) -> str:
    """How many seeds there are, at a place where words are the places."""
    seeds = rows["seed"].nunique()
    if not pd.api.types.is_numeric_dtype(rows[across.column]):
        here = rows[rows["what"] == CHOSEN].groupby(across.column)["seed"].nunique()
        if here.min() < here.max():
            return f"{here.min()} to {here.max()} seeds"
        seeds = here.max()
    return seeds_in_title(seeds)


def _place_ticks(axes: Axes, rows: pd.DataFrame, across: Across) -> None:
    """Put a tick at every place that was measured."""
    places = sorted(rows.loc[rows["what"] == CHOSEN, across.column].unique())
    if places[0] > 0 and places[-1] >= _FOR_A_LOG * places[0]:
        axes.set_xscale("log")
    axes.set_xlabel(_label(across))
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.minorticks_off()


def _panel(axes: Axes, rows: pd.DataFrame, across: Across) -> None:
    for name, dash in _DENSE.items():
        values = _means(rows[rows["what"] == name], across.column)
        if values.notna().any():
            look: dict[str, Any] = {
                "color": "black",
                "linewidth": 0.8,
                "linestyle": dash,
                "label": name,
            }
            if across.key is None:  # a whole model has no share
                axes.axhline(float(values.mean()), **look)
            else:
                axes.plot(values.index, values, **look)
    for what, colour in _COLOURS.items():
        by_place = rows[rows["what"] == what].groupby(across.column)["value"]
        if not by_place.ngroups:
            continue
        mean = _means(rows[rows["what"] == what], across.column)
        low, high = by_place.min(), by_place.max()
        axes.plot(mean.index, mean, marker=_MARKERS[what], color=colour, label=what, zorder=3)
        axes.fill_between(mean.index, low, high, color=colour, alpha=0.2, linewidth=0)


def _side_by_side(axes: Axes, rows: pd.DataFrame, across: Across, words: list[str]) -> None:
    """Mean and range at each word, controls beside it, dense models as lines behind."""
    for name, dash in _DENSE.items():
        values = _means(rows[rows["what"] == name], across.column).dropna()
        for number, (word, value) in enumerate(values.items()):
            ends = [words.index(str(word)) + end for end in (-_HALF, _HALF)]
            look: dict[str, Any] = {"linewidth": 0.8, "label": "_" if number else name}
            axes.plot(ends, [value, value], dash, color="black", **look)
    kinds = [kind for kind in _COLOURS if (rows["what"] == kind).any()]
    for number, what in enumerate(kinds):
        drawn = rows[rows["what"] == what]
        by_word = drawn.groupby(across.column)["value"]
        found = (_means(drawn, across.column), by_word.min(), by_word.max())
        mean, low, high = (item.reindex(words).to_numpy(float) for item in found)
        axes.errorbar(
            np.arange(len(words)) + _BESIDE * (number - (len(kinds) - 1) / 2),
            mean,
            yerr=whiskers(mean, low, high),
            fmt=_MARKERS[what],
            color=_COLOURS[what],
            elinewidth=1,
            label=what,
            zorder=3,
        )
    axes.set_xlabel(_label(across))
    named_below(axes, in_lines([" ".join(word.split()) for word in words]))
    axes.grid(visible=False, axis="x")


def _means(rows: pd.DataFrame, place: str) -> pd.Series:
    """Means over seeds and draws, place by place; of perplexities geometric ones, as in tables.

    One that overflowed makes its place's mean infinite, and so it stands at the edge.
    """
    if not rows["metric"].eq(PERPLEXITY).all():
        return rows.groupby(place)["value"].mean()
    logs = rows["value"].map(math.log, na_action="ignore")
    means = logs.groupby(rows[place]).mean().map(math.exp, na_action="ignore")
    means.update(rows[rows[_OVER]].groupby(place)["value"].max())
    return means
