"""A difference over prompts, one-sided: whether it would hold on others, too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ssah_exp.evaluation.intervals import Estimate, Resampling, alike, few_differ
from ssah_exp.evaluation.over_seeds import mean_over
from ssah_exp.evaluation.paired_tests import (
    Values,
    differences_of,
    exact_equivalence,
    exact_interval,
    sign_flips,
)
from ssah_exp.reporting.claims.claim_file import LOWER, NO_HIGHER, NO_LOWER, SAME, WITHIN
from ssah_exp.reporting.compare.metrics import Kind, Metric
from ssah_exp.reporting.compare.on_prompts import OnPrompts


@dataclass(frozen=True)
class OverPrompts:
    """Arm minus reference, seeds averaged prompt by prompt.

    Attributes:
        difference: Mean over prompts (questions, answers, windows) with its interval.
        p: One-sided, of no difference in the claimed direction; for ``same``, of a difference of
            the margin or more; for ``no_higher`` and ``no_lower``, of one that way.
    """

    difference: Estimate
    p: float


def over_prompts(
    values: OnPrompts, metric: Metric, shows: str, margin: float, confidence: float
) -> OverPrompts | None:
    """Test a difference over prompts.

    By Student's t; where fewer than ten prompts differ, which a t test would take for certainty,
    by exact sign flips and bounds (:func:`~ssah_exp.evaluation.paired_tests.exact_interval`).

    Args:
        values: What both arms came to.
        metric: Its kind says whether differences are bounded.
        shows: As in :class:`~ssah_exp.reporting.claims.claim_file.Prediction`.
        margin: Smallest difference that matters, in the metric's unit.
        confidence: Of the interval.

    Returns:
        The test; None where a loss is not finite, all windows differ alike, or fewer than two
        prompts were scored in both arms.
    """
    bounded = metric.kind is not Kind.LOSS
    if not bounded and not (np.isfinite(values.arm).all() and np.isfinite(values.against).all()):
        return None  # before numpy warns of a difference of infinities
    found = differences_of(values.arm / metric.span, values.against / metric.span)
    if bounded:
        found = found[~np.isnan(found)]
    few = bounded and found.size > 0 and few_differ(found)
    if found.size < 2 or not np.isfinite(found).all() or (alike(found.tolist()) and not few):
        return None
    margin /= metric.span
    if few:
        difference = exact_interval(found, Resampling(confidence), metric.unit, whole=False)
        p = _exact(found, shows, margin, metric.unit)
    else:
        difference = mean_over(found.tolist(), confidence, metric.unit)
        p = one_sided(found, shows, margin)
    return OverPrompts(difference.mapped(lambda end: end * metric.span), p)


def one_sided(sample: Values, shows: str, margin: float) -> float:
    """p of a t test that the mean lies the claimed way; for ``same``, of two against the margin."""
    if shows == SAME:
        return max(one_sided(sample, side, margin) for side in (NO_HIGHER, NO_LOWER))
    if shows in (LOWER, NO_HIGHER):
        sample = -sample
    floor = -margin if shows in WITHIN else 0.0
    return float(stats.ttest_1samp(sample, floor, alternative="greater").pvalue)


def _exact(differences: Values, shows: str, margin: float, unit: str) -> float:
    if shows in WITHIN:
        risen = -differences if shows == NO_LOWER else differences
        one_way, both, _ = exact_equivalence(risen, margin, unit)
        return both if shows == SAME else one_way
    changed = differences[differences != 0]  # the others have no sign to flip
    if not changed.size:
        return 1.0
    return halved(sign_flips(changed)[0], float(changed.mean()), shows)


def halved(p: float, difference: float, shows: str) -> float:
    """A two-sided p made one-sided: ``shows`` is ``higher`` or ``lower``."""
    claimed = difference < 0 if shows == LOWER else difference > 0
    return p / 2 if claimed else 1 - p / 2
