"""Each pruned class before its null: what pruning as many other units does, draw by draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.drawing import (
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
from ssah_exp.reporting.drawn_asr import drawn_asr, prompts_text
from ssah_exp.reporting.text import scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ITSELF = "class"
_FOR_A_BOX = 5
_ROOM = 36  # letters that stand side by side below a panel
# Where the draws stand beside the class.
_SHIFTS = {"random": -0.26, "matched": 0.26}


def null_rows(records: Sequence[RunRecord], style: str | None = None) -> pd.DataFrame:
    """One row per metric of every arm of a pruning table that is dense or has the primary fill.

    Args:
        records: Records of one setting, one per seed.
        style: Prompt style of the harmful requests; None = the mean over styles.

    Returns:
        ``metric`` (``asr`` in percent, ``perplexity``), ``class`` (or ``aligned``,
        ``unaligned``), ``what`` (``class``, ``random``, ``matched``), ``seed``, ``draw``,
        ``value``, ``low``, ``high``, ``n``.

    Raises:
        ConfigError: No record measured that style.
        StoreError: There are no records.
    """
    if not records:
        raise StoreError("There are no records to draw.")
    evaluation = records[0].config["evaluation"]
    asr = drawn_asr(evaluation, records[0].arms[0], style)
    fill = records[0].config["ablation"]["primary_fill"]
    rows = [
        _row(short, metric, arm, record.seed)
        for short, metric in (("asr", asr), (PERPLEXITY, PERPLEXITY))
        for record in records
        for arm in record.arms
        if arm.fill in (None, fill)
    ]
    return pd.DataFrame(rows).astype({"draw": "Int64", "value": "float64"})


def _row(short: str, metric: str, arm: ArmRecord, seed: int) -> dict[str, Any]:
    found = arm.measured(metric).mapped(lambda end: scale_of(metric) * end)
    return {
        "metric": short,
        "class": arm.label,
        "what": arm.control or _ITSELF,
        "seed": seed,
        "draw": arm.draw,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
    }


@styled()
def draw_null(records: Sequence[RunRecord], path: Path, style: str | None = None) -> Path:
    """Draw ASR and perplexity of every class, with all its control draws beside it.

    Args:
        records: Records of one setting of a pruning table, one per seed.
        path: Where to write; the suffix decides the format.
        style: Prompt style of the harmful requests; None = the mean over styles.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: No record measured that style, or a suffix that cannot be written.
        StoreError: There are no records.
    """
    rows = null_rows(records, style)
    config = records[0].config
    figure = new_figure(PAGE, 3.2)
    budgets, seeds = config["units"]["budgets"], len(records)
    figure.suptitle(
        f"{config['data']['name']}, SCU budget {100 * budgets['scu']:g} % of {budgets['unit']}, "
        f"{seeds} seed{'s' if seeds > 1 else ''}",
    )
    left, right = figure.subplots(1, 2)
    _panel(left, rows[rows["metric"] == "asr"])
    left.set_ylabel(f"ASR %, {prompts_text(config['evaluation'], style)}")
    left.set_ylim(-3, 103)
    perplexity = rows[rows["metric"] == PERPLEXITY]
    _panel(right, on_the_edge(right, perplexity, ("value", "low", "high")))
    right.set_ylabel("perplexity")
    if (perplexity["value"] > 0).any():  # without a value there is no scale
        log_where_wide(right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return save_figure(figure, path, rows)


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    dense = rows["class"].isin(("aligned", "unaligned"))
    for name, line in (("aligned", "-"), ("unaligned", ":")):
        values = rows.loc[rows["class"] == name, "value"]
        if values.notna().any():
            axes.axhline(
                float(values.mean()), color="black", linewidth=0.8, linestyle=line,
                label=f"{name}, nothing pruned",
            )  # fmt: skip
    classes = list(dict.fromkeys(rows.loc[~dense, "class"]))
    for place, name in enumerate(classes):
        here = rows[rows["class"] == name]
        for control, shift in _SHIFTS.items():
            marker, colour = CONTROL_MARKERS[control], CONTROL_COLOURS[control]
            draws = here.loc[here["what"] == control, "value"].dropna().to_numpy()
            _draws(axes, draws, place + shift, marker, colour, f"{control}, draw by draw")
        _seeds(axes, here[here["what"] == _ITSELF], place, name)
    labels = axes.set_xticks(range(len(classes)), classes)
    if sum(map(len, classes)) > _ROOM:
        for tick in labels:
            tick.label1.set(rotation=25, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(classes) - 0.4)
    axes.grid(visible=False, axis="x")
    named_once(axes)


def _draws(
    axes: Axes, draws: np.ndarray[Any, Any], place: float, marker: str, colour: str, label: str
) -> None:
    """Every draw, and a box over them where there are enough for quartiles."""
    if draws.size == 0:
        return
    if draws.size >= _FOR_A_BOX:
        axes.boxplot(
            [draws],
            positions=[place],
            widths=0.2,
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.25, "linewidth": 0.6},
            medianprops={"color": colour},
            whiskerprops={"linewidth": 0.6},
            capprops={"linewidth": 0.6},
            zorder=1,
        )
    spread = np.linspace(-0.07, 0.07, draws.size) if draws.size > 1 else np.zeros(1)
    axes.plot(
        place + spread, draws, marker, color=colour, markersize=4, alpha=0.8, label=label, zorder=2
    )


def _seeds(axes: Axes, rows: pd.DataFrame, place: float, name: str) -> None:
    """The class itself, with a point and an interval per seed."""
    count = len(rows)
    shifts = np.linspace(-0.06, 0.06, count) if count > 1 else np.zeros(count)
    values = rows["value"].to_numpy(float)
    lows, highs = (rows[end].to_numpy(float) for end in ("low", "high"))
    axes.errorbar(
        place + shifts,
        values,
        yerr=whiskers(values, lows, highs),
        fmt="o",
        color=CLASS_COLOURS.get(name, "black"),
        markersize=6,
        elinewidth=1,
        label=f"{name if name in CLASS_COLOURS else 'sets by name'}, a point a seed",
        zorder=3,
    )
