"""How much, not only whether: ASR and perplexity over the share of parameters, before the nulls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssah_exp.cache import digest_of
from ssah_exp.config.validate import TABLE1
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.metrics import PERPLEXITY
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.drawing import (
    CLASS_COLOURS,
    CONTROL_COLOURS,
    CONTROL_MARKERS,
    PAGE,
    new_figure,
    save_figure,
    styled,
)
from ssah_exp.reporting.drawn_style import drawn_asr
from ssah_exp.reporting.rows import settings_of
from ssah_exp.reporting.text import scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHOSEN = "chosen"
_COLOURS = {CHOSEN: CLASS_COLOURS["SCU"], **CONTROL_COLOURS}
_MARKERS = {CHOSEN: "o", **CONTROL_MARKERS}
_AT_LEAST = 2  # shares that make a curve


def curves_of(records: Sequence[RunRecord], unit_class: str) -> list[list[RunRecord]]:
    """Groups of records that make one curve: alike in all but the seed and the class's budget.

    Args:
        records: Of one artefact.
        unit_class: The class whose budget may vary, of a pruning table.

    Raises:
        StoreError: No group has arms of two shares.
    """
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for runs in settings_of(records):
        config = deepcopy(runs[0].config)
        config["units"]["budgets"].pop(unit_class.lower(), None)
        groups[digest_of({**config, "seed": None})] += runs
    curves = [group for group in groups.values() if _shares(group, unit_class) >= _AT_LEAST]
    if not curves:
        raise StoreError(
            f"No setting among these records has arms of {_AT_LEAST} shares of parameters."
        )
    return curves


def _shares(records: Sequence[RunRecord], unit_class: str) -> int:
    arms = (arm for record in records for arm in _arms(record, unit_class) if not arm.control)
    return len({_percent(arm) for arm in arms})


def share_rows(
    records: Sequence[RunRecord], unit_class: str, style: str | None = None
) -> pd.DataFrame:
    """Every arm of the class or of the training table, its controls, and the dense models.

    Args:
        records: One curve; see :func:`curves_of`.
        unit_class: Class of a pruning table; not read for a training table.
        style: Prompt style of the harmful requests; None = the mean over styles.

    Returns:
        ``metric`` (``asr`` in percent, ``perplexity``), ``what`` (``chosen``, ``random``,
        ``matched`` or a dense model), ``share_pct`` of unit parameters (0 if dense), ``seed``,
        ``draw``, ``value``, ``n``.

    Raises:
        ConfigError: No record measured that style.
    """
    evaluation = records[0].config["evaluation"]
    asr = drawn_asr(evaluation, records[0].arms[0], style)
    rows = [
        _row(short, metric, arm, record)
        for short, metric in (("asr", asr), (PERPLEXITY, PERPLEXITY))
        for record in records
        for arm in (*_dense(record), *_arms(record, unit_class))
    ]
    return pd.DataFrame(rows).astype({"draw": "Int64", "value": "float64"})


def _dense(record: RunRecord) -> Iterator[ArmRecord]:
    for arm in record.arms:
        whole = arm.unit_class is None and arm.arm is None
        if whole or arm.arm == "full":
            yield arm


def _arms(record: RunRecord, unit_class: str) -> Iterator[ArmRecord]:
    """What was changed by share; adapters and the arm that trains everything have none."""
    for arm in record.arms:
        if record.artefact == TABLE1:
            fill = record.config["ablation"]["primary_fill"]
            if arm.unit_class == unit_class and arm.fill == fill:
                yield arm
        elif arm.arm is not None and arm.units > 0:
            yield arm


def _percent(arm: ArmRecord) -> float:
    """Of unit parameters, two digits: controls and other seeds stand at the same share."""
    return float(f"{100 * arm.parameter_share:.2g}")


def _row(short: str, metric: str, arm: ArmRecord, record: RunRecord) -> dict[str, Any]:
    found = arm.metrics[metric]
    dense = arm.units == 0
    return {
        "metric": short,
        "what": (arm.arm or arm.model) if dense else arm.control or CHOSEN,
        "share_pct": 0.0 if dense else _percent(arm),
        "seed": record.seed,
        "draw": arm.draw,
        "value": None if found.value is None else scale_of(metric) * found.value,
        "n": found.n,
    }


@styled()
def draw_shares(
    records: Sequence[RunRecord], path: Path, unit_class: str, style: str | None = None
) -> Path:
    """Draw mean and range over seeds and draws, ASR beside perplexity.

    Args:
        records: One curve; see :func:`curves_of`.
        path: Where to write; the suffix decides the format.
        unit_class: See :func:`share_rows`.
        style: See :func:`share_rows`.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: No record measured that style, or a suffix that cannot be written.
    """
    rows = share_rows(records, unit_class, style)
    first = records[0]
    what = f"{unit_class} pruned" if first.artefact == TABLE1 else first.artefact
    seeds = len({record.seed for record in records})
    figure = new_figure(PAGE, 3.2)
    count = f"{seeds} seed{'s' if seeds > 1 else ''}"
    figure.suptitle(f"{first.config['data']['name']}, {what}, {count}")
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, "asr"), (right, PERPLEXITY)):
        _panel(axes, rows[rows["metric"] == metric])
        axes.set_xscale("log")
        axes.set_xlabel("share of unit parameters, %")
        shares = sorted(rows.loc[rows["share_pct"] > 0, "share_pct"].unique())
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
    left.set_ylabel(f"ASR %, {_styles(first, style)}")
    left.set_ylim(-3, 103)
    right.set_ylabel("perplexity")
    _ticks(right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return save_figure(figure, path, rows)


def _styles(record: RunRecord, style: str | None) -> str:
    given = record.config["evaluation"]["harmful_styles"]
    return f"{style or given[0]} prompts" if style or len(given) == 1 else "mean of prompt styles"


def _ticks(axes: Axes) -> None:
    """Logarithmic where that says more, with plain numbers either way."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    low, high = axes.get_ylim()
    if high < 2 * low:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for name, dash in (("aligned", "-"), ("unaligned", ":"), ("full", "--")):
        values = rows.loc[rows["what"] == name, "value"]
        if values.notna().any():
            axes.axhline(
                float(values.mean()), color="black", linewidth=0.8, linestyle=dash, label=name
            )
    for what, colour in _COLOURS.items():
        by_share = rows[rows["what"] == what].groupby("share_pct")["value"]
        if not by_share.ngroups:
            continue
        mean, low, high = by_share.mean(), by_share.min(), by_share.max()
        axes.plot(mean.index, mean, marker=_MARKERS[what], color=colour, label=what, zorder=3)
        axes.fill_between(mean.index, low, high, color=colour, alpha=0.2, linewidth=0)
