"""Rows of a table: runs of one setting over seeds, control draws gathered."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ssah_exp.errors import SsahWarning
from ssah_exp.evaluation.attack_metrics import attacked_style, styles_under
from ssah_exp.evaluation.intervals import Estimate, alike
from ssah_exp.evaluation.metric_names import (
    EPOCHS,
    MEAN,
    PERPLEXITY,
    TRAIN_LOSS,
    TRAINED_SHARE,
    WATCHED,
    asr_name,
    empty_name,
    looping_name,
    refusal_name,
    score_name,
)
from ssah_exp.evaluation.mt_bench.names import MT_MEAN, TURN_NAMES
from ssah_exp.evaluation.over_seeds import (
    mean_over,
    mean_rate_over_seeds,
    perplexity_over_seeds,
    rate_over_seeds,
)
from ssah_exp.evaluation.questions import BENIGN, BORDERLINE, HARMFUL
from ssah_exp.evaluation.utility.metrics import UNIT, UTILITY_MEAN, leading_names
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.arm_groups import groups_of
from ssah_exp.reporting.notes.coverage import partial_coverage
from ssah_exp.reporting.settings import settings_of, told_apart, unlike_judge, unlike_judges

# Relative difference of one model's values on one text between batch sizes or machines.
_ROUNDING = 1e-4
ALL_ALIKE = "seeds alike"  # in how an interval was made that knows of no variation over seeds
# The share of looping answers that earns a column; a small model loops now and then.
_MANY = 0.1


@dataclass(frozen=True)
class Cell:
    """One measured value of a table.

    Attributes:
        value: Point estimate; None is a gap.
        low: Lower end of the interval; for several draws of a control, the smallest.
        high: Upper end; for several draws of a control, the largest.
        spread: Standard deviation over control draws; for perplexity the geometric one, a factor.
            None unless there are several draws, all finite.
        n: Observations (prompts, windows, ...) behind one run's value, the fewest if runs differ.
        repeats: Number of seeds, or of draws over all seeds.
        method: What ``low`` and ``high`` are.
    """

    value: float | None
    low: float | None
    high: float | None
    spread: float | None
    n: int
    repeats: int
    method: str


@dataclass(frozen=True)
class Row:
    """One line: an arm, gathered over seeds and draws.

    Attributes:
        label: Name of the arm, its class or its model.
        arm: Name of a training table's arm in the config; None in pruning tables.
        unit_class: The class or set that was ablated; None = none, as in training tables.
        fill: What replaced its activations; None = nothing was ablated.
        control: One of ``CONTROLS``; None = no control.
        unit_share: Mean share of all units, from 0 to 1.
        parameter_share: Mean share of all unit parameters, from 0 to 1.
        gathered: Number of arms behind the row: one per seed, for controls one per draw.
        cells: Metric -> value over the ``Cell.repeats`` arms that have one.
    """

    label: str
    arm: str | None
    unit_class: str | None
    fill: str | None
    control: str | None
    unit_share: float
    parameter_share: float
    gathered: int
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Block:
    """All rows of one setting.

    Attributes:
        records: One per seed, the newest of each.
        rows: In the order of the first record's arms.
        metrics: Columns, in order; rows have further cells: of other judges, of single attempts of
            an attack, of callbacks, and of coverage where not all answers were scored.
        apart: What tells it from other settings with the same config: input -> first digits of its
            hash.
    """

    records: list[RunRecord]
    rows: list[Row]
    metrics: list[str]
    apart: dict[str, str] = field(default_factory=dict)


def blocks(records: Sequence[RunRecord]) -> list[Block]:
    """The rows of every setting."""
    settings = settings_of(records)
    return [
        replace(_block(runs), apart=apart)
        for runs, apart in zip(settings, told_apart(settings), strict=True)
    ]


def _block(records: list[RunRecord]) -> Block:
    metrics, confidence = _columns(records), records[0].config["evaluation"]["confidence"]
    unshown = [*_without_column(records, metrics), *partial_coverage(records)]
    rows = [_row(group.arms, [*metrics, *unshown], confidence) for group in groups_of(records)]
    return Block(records, rows, metrics)


def _columns(records: Sequence[RunRecord]) -> list[str]:
    """Metrics that a table shows, in order."""
    first, evaluation = records[0], records[0].config["evaluation"]
    judge, styles = evaluation["primary_judge"], evaluation["harmful_styles"]
    attacked = _attacked(first, judge)
    trained = any(arm.training is not None for record in records for arm in record.arms)
    return [
        *((TRAINED_SHARE, EPOCHS, TRAIN_LOSS) if trained else ()),
        PERPLEXITY,
        *(asr_name(style, judge) for style in (*styles, MEAN, *attacked)),
        *_empty(records, [*styles, *attacked]),
        *_scores(first, [*styles, *attacked], judge),
        *(refusal_name(which, evaluation["benign_style"], judge) for which in (BENIGN, BORDERLINE)),
        *_looping(records, styles),
        *_utility(first),
        *((*TURN_NAMES, MT_MEAN) if "mt_bench" in first.config else ()),
    ]


def _attacked(record: RunRecord, judge: str) -> list[str]:
    """Styles under attack, in the config's order."""
    evaluation = record.config["evaluation"]
    shown = list(styles_under(evaluation.get("attacks", {})))
    if evaluation.get("mean_with") is not None:
        shown.append(attacked_style(MEAN, evaluation["mean_with"]))
    return [style for style in shown if asr_name(style, judge) in record.arms[0].metrics]


def _empty(records: Sequence[RunRecord], styles: Sequence[str]) -> list[str]:
    """Shares of answers without text, for the styles in which any arm gave one."""
    arms = [arm for record in records for arm in record.arms]
    given = {name for arm in arms for name, found in arm.metrics.items() if found.value}
    return [empty_name(style) for style in styles if empty_name(style) in given]


def _looping(records: Sequence[RunRecord], styles: Sequence[str]) -> list[str]:
    """Shares of answers that loop, where they are many in any arm."""
    benign = looping_name(BENIGN, records[0].config["evaluation"]["benign_style"])
    names = [*(looping_name(HARMFUL, style) for style in styles), benign]
    arms = [arm.metrics for record in records for arm in record.arms]
    return [name for name in names if any(_many(arm.get(name)) for arm in arms)]


def _many(share: Estimate | None) -> bool:
    return share is not None and share.value is not None and share.value >= _MANY


def _without_column(records: Sequence[RunRecord], shown: Sequence[str]) -> list[str]:
    """Metrics that have no column: of other judges, of single attempts, of callbacks.

    Any record's: a judge may have been asked later of some seeds alone. One name that stands for
    several judges has no mean over seeds.
    """
    given = {name for record in records for arm in record.arms for name in arm.metrics}
    unlike = unlike_judges(records)
    for judge, keys in unlike.items():
        warnings.warn(
            f"{unlike_judge(judge, keys, records)}. Tables leave it out.",
            SsahWarning,
            stacklevel=5,
        )
    return sorted(
        name
        for name in given
        if _for_machines(name) and name not in shown and name.rpartition("/")[2] not in unlike
    )


def _for_machines(metric: str) -> bool:
    kind = metric.partition("/")[0]
    return kind.startswith(("asr", "score")) or kind.endswith("_refusal") or kind == WATCHED


def _scores(record: RunRecord, styles: Sequence[str], judge: str) -> list[str]:
    """Mean scores, if the judge gives scores."""
    names = (score_name(style, judge) for style in styles)
    return [name for name in names if name in record.arms[0].metrics]


def _utility(record: RunRecord) -> list[str]:
    """Columns of the harness tasks that were run; records from before there were any have none."""
    recorded = record.config.get("utility")
    if recorded is None:
        return []
    return leading_names(recorded["tasks"], recorded["metric"])


def _row(arms: list[ArmRecord], metrics: Iterable[str], confidence: float) -> Row:
    first = arms[0]
    return Row(
        label=first.label,
        arm=first.arm,
        unit_class=first.unit_class,
        fill=first.fill,
        control=first.control,
        unit_share=float(np.mean([arm.unit_share for arm in arms])),
        parameter_share=float(np.mean([arm.parameter_share for arm in arms])),
        gathered=len(arms),
        cells={
            name: _cell(
                name,
                [arm.metrics[name] for arm in arms if name in arm.metrics],
                first.control,
                confidence,
            )
            for name in metrics
        },
    )


def _cell(metric: str, estimates: list[Estimate], control: str | None, confidence: float) -> Cell:
    n = _fewest(estimates)
    measured = [item for item in estimates if item.value is not None]
    values = [item.value for item in measured if item.value is not None]
    if not measured:
        return Cell(None, None, None, None, n, 0, "nothing measured")
    if len(measured) == 1:  # a range of one draw, or t over one seed, would have no width
        only = measured[0]
        return Cell(only.value, only.low, only.high, None, n, 1, only.method)
    if control is not None:
        return _over_draws(values, n, geometric=metric == PERPLEXITY)
    over = _over_seeds(metric, measured, values, confidence)
    return Cell(over.value, over.low, over.high, None, n, len(values), over.method)


def _over_draws(values: list[float], n: int, *, geometric: bool) -> Cell:
    """Mean, spread and range of draws; on the log scale if ``geometric``, as over seeds."""
    finite = len(values) > 1 and bool(np.isfinite(values).all())
    scaled = np.log(values) if geometric else np.asarray(values)
    # Minus the first, equal draws have a spread of exactly 0; their mean may be rounded.
    mean, spread = float(scaled.mean()), float((scaled - scaled[0]).std(ddof=1)) if finite else None
    method = "range over draws"
    if geometric:
        mean, spread = math.exp(mean), None if spread is None else math.exp(spread)
        method = "range over draws; geometric mean and sd"
    return Cell(mean, min(values), max(values), spread, n, len(values), method)


def _fewest(estimates: Sequence[Estimate]) -> int:
    """The smallest n behind a value: where a judge left answers unscored, runs differ in n.

    For what is counted (batches, weights) it is the first run's: n then says nothing of certainty.
    """
    if estimates and estimates[0].method == "counted":
        return estimates[0].n
    sizes = [item.n for item in estimates if item.value is not None]
    return min(sizes or [item.n for item in estimates], default=0)


def _over_seeds(
    metric: str, estimates: list[Estimate], values: list[float], confidence: float
) -> Estimate:
    """Estimate over seeds; where all are alike, t sees nothing and one seed's interval stays."""
    first = estimates[0]
    if metric == UTILITY_MEAN:
        return mean_rate_over_seeds(estimates, confidence)
    if first.unit in ("prompts", "turns", UNIT):
        return rate_over_seeds(values, _fewest(estimates), confidence)
    if first.method == "counted":
        return Estimate(float(np.mean(values)), None, None, len(values), "seeds", "mean, counted")
    if len(values) > 1 and alike(values, _ROUNDING):
        method = f"{first.method}; all {len(values)} {ALL_ALIKE}"
        return Estimate(first.value, first.low, first.high, len(values), "seeds", method)
    if metric == PERPLEXITY:
        return perplexity_over_seeds(values, confidence)
    return mean_over(values, confidence, "seeds")
