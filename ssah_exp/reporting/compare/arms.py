"""Every arm of a setting against its controls and the dense model, from records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ssah_exp.evaluation.holm import holm
from ssah_exp.evaluation.intervals import Resampling
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.evaluation.paired import (
    COHENS_DZ,
    COHENS_H,
    Margins,
    OverSeeds,
    Paired,
    Terms,
    gap,
    over_seeds,
    paired_losses,
    paired_means,
    paired_rates,
)
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.arm_groups import Group, groups_of, references_of
from ssah_exp.reporting.compare.metrics import Kind, Metric, metrics_of
from ssah_exp.reporting.compare.on_prompts import asked_otherwise, on_prompts

OTHER_QUESTIONS = "the arms were asked other questions"
# Equal means of thirds may differ by less than this through rounding; unequal ones differ by more.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Line:
    """One arm against one reference by one metric.

    Attributes:
        arm: Label of the arm.
        against: Label of the reference.
        metric: As in the record.
        kind: How it is compared and written.
        higher_is_better: Else an arm is worse where it is higher.
        difference: Of the two values that tables print (losses for perplexity), averaged over
            seeds; known even where records keep no outcomes. None = one is missing or not finite.
        paired: Over prompts or windows; None if a record keeps no outcomes.
        seeds: Over seeds.
        ranks: Against controls, for each seed: place of the arm among itself and the draws, the
            worst value first, after draws with the same value, as ``1/4``; None against others.
        p_holm: ``paired.p`` adjusted over the table.
        no_worse_holm: ``paired.p_no_worse`` adjusted over the table.
        equivalent_holm: ``paired.p_equivalent`` adjusted over the table.
    """

    arm: str
    against: str
    metric: str
    kind: Kind
    higher_is_better: bool
    difference: float | None
    paired: Paired | None
    seeds: OverSeeds
    ranks: list[str] | None
    p_holm: float | None = None
    no_worse_holm: float | None = None
    equivalent_holm: float | None = None


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of one setting.

    Attributes:
        records: One per seed.
        judge: Whose verdicts.
        lines: Arm by arm.
        resampling: Of the intervals.
        apart: See :class:`ssah_exp.reporting.rows.Block`.
    """

    records: list[RunRecord]
    judge: str
    lines: list[Line]
    resampling: Resampling
    apart: dict[str, str] = field(default_factory=dict)


def compare_arms(
    records: Sequence[RunRecord],
    judge: str,
    resampling: Resampling,
    margins: Margins,
    metrics: Sequence[str] = (),
) -> Comparisons:
    """Compare every arm of one setting.

    Args:
        records: One per seed, alike in all else.
        judge: Whose verdicts.
        resampling: Of the intervals.
        margins: For equivalence.
        metrics: Metrics to compare, or first parts of their names (``asr``, ``asr/raw+gcg``,
            ``utility``); none = all. Holm's adjustment is over what is compared.
    """
    groups = groups_of(records)
    wanted = [
        metric
        for metric in metrics_of(records, judge)
        if not metrics or any(metric.is_of(part) for part in metrics)
    ]
    lines = [
        _line(group, reference, metric, records, resampling, margins)
        for group in groups
        for reference in references_of(group, groups, records)
        for metric in wanted
    ]
    return Comparisons(list(records), judge, _adjusted(lines), resampling)


def _line(
    group: Group,
    reference: Group,
    metric: Metric,
    records: Sequence[RunRecord],
    resampling: Resampling,
    margins: Margins,
) -> Line:
    seeds = [seed for seed in group.by_seed if seed in reference.by_seed]
    by_seed = [
        _printed_difference(group.by_seed[seed], reference.by_seed[seed], metric) for seed in seeds
    ]
    there = [value for value in by_seed if value is not None]
    whole = bool(there) and len(there) == len(by_seed)
    return Line(
        arm=group.label,
        against=reference.label,
        metric=metric.name,
        kind=metric.kind,
        higher_is_better=metric.higher_is_better,
        difference=float(np.mean(there)) if whole else None,
        paired=paired_over_prompts(group, reference, metric, seeds, records, resampling, margins),
        seeds=over_seeds(there if whole else [], resampling.confidence),
        ranks=_ranks(group, reference, metric, seeds),
    )


def paired_over_prompts(
    group: Group,
    reference: Group,
    metric: Metric,
    seeds: Sequence[int],
    records: Sequence[RunRecord],
    resampling: Resampling,
    margins: Margins,
) -> Paired | None:
    """Two arms on the same prompts or windows; None if a record keeps no outcomes.

    A gap if the two arms were asked different questions, as after a change of the hub's data.
    """
    margin = margins.score * metric.span if metric.kind is Kind.SCORE else margins.rate
    terms = Terms(resampling, margin, metric.unit, metric.higher_is_better)
    if asked_otherwise(group, reference, metric, seeds):
        return gap(terms, COHENS_H if metric.kind is Kind.RATE else COHENS_DZ, OTHER_QUESTIONS)
    values = on_prompts(group, reference, metric, seeds, records)
    if values is None:
        return None
    if metric.kind is Kind.LOSS:
        return paired_losses(values.arm, values.against, resampling, margins.loss)
    if metric.kind is Kind.RATE:
        return paired_rates(values.arm, values.against, terms)
    return paired_means(values.arm, values.against, terms, metric.span)


def _printed_difference(
    arms: Sequence[ArmRecord], reference: Sequence[ArmRecord], metric: Metric
) -> float | None:
    one, other = printed_value(arms, metric.name), printed_value(reference, metric.name)
    if one is None or other is None or not math.isfinite(one - other):
        return None
    return one - other


def printed_value(arms: Sequence[ArmRecord], metric: str) -> float | None:
    """Mean over draws of the printed value, of its log for perplexity; None if a draw is a gap."""
    values = [arm.measured(metric).value for arm in arms]
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return None
    if metric == PERPLEXITY:
        there = [math.log(value) for value in there]
    return float(np.mean(there))


def _ranks(
    group: Group, reference: Group, metric: Metric, seeds: Sequence[int]
) -> list[str] | None:
    if reference.control is None:
        return None
    places: list[str] = []
    worse = -1 if metric.higher_is_better else 1
    for seed in seeds:
        own = printed_value(group.by_seed[seed], metric.name)
        draws = [printed_value([draw], metric.name) for draw in reference.by_seed[seed]]
        there = [value for value in draws if value is not None]
        if own is None or len(there) < len(draws):
            return None
        # Losses that both overflowed are alike, and have no difference.
        lost = sum(value == own or worse * (value - own) >= -_ROUNDING for value in there)
        places.append(f"{1 + lost}/{1 + len(there)}")
    return places


def _adjusted(lines: Sequence[Line]) -> list[Line]:
    """Adjust the p values of each kind of claim by Holm, over the whole table."""
    there = [line.paired for line in lines]
    families = zip(
        holm([None if item is None else item.p for item in there]),
        holm([None if item is None else item.p_no_worse for item in there]),
        holm([None if item is None else item.p_equivalent for item in there]),
        strict=True,
    )
    return [
        replace(line, p_holm=differs, no_worse_holm=no_worse, equivalent_holm=equivalent)
        for line, (differs, no_worse, equivalent) in zip(lines, families, strict=True)
    ]
