"""Two arms on the same prompts, questions or text windows, by tests of scipy and statsmodels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from ssah_exp.evaluation.intervals import (
    Estimate,
    Resampling,
    alike,
    exp,
    few_differ,
)
from ssah_exp.evaluation.over_seeds import mean_over
from ssah_exp.evaluation.paired_tests import (
    Values,
    bootstrap,
    cohens_dz,
    cohens_h,
    differences_of,
    exact_equivalence,
    exact_interval,
    mcnemar,
    sign_flips,
    tost,
)


@dataclass(frozen=True)
class Margins:
    """How much worse counts as no worse.

    Attributes:
        rate: Difference of two rates, e.g. 0.05 for five points.
        loss: Difference of two losses in nats per token; 0.05 is about 5 % of perplexity.
        score: Difference of two mean scores as a share of the judge's scale; 0.05 is 0.2 points
            from 1 to 5.
    """

    rate: float = 0.05
    loss: float = 0.05
    score: float = 0.05


COHENS_H, COHENS_DZ, RATIO = "Cohen's h", "Cohen's d of pairs", "perplexity ratio"
# With fewer windows than this a percentile bootstrap is too narrow: with 8 normal differences its
# 95 % interval holds the mean in 89 % of cases, with 30 in 93 %; Student's t in 95 % of either.
FEW_WINDOWS = 30


@dataclass(frozen=True)
class Paired:
    """How two arms differ: ``arm - reference``.

    Attributes:
        difference: Difference of rates, of mean scores, or of mean losses in nats per token.
        effect: Cohen's h of two rates, Cohen's d of paired scores, or the ratio of perplexities.
        effect_name: One of :data:`COHENS_H`, :data:`COHENS_DZ`, :data:`RATIO`.
        p: Two-sided p-value of no difference; None is a gap.
        test: How ``p`` was made.
        p_no_worse: One-sided p-value of being worse by the margin or more; None is a gap.
        p_equivalent: p-value of differing by the margin or more either way (TOST); None is a gap.
        equivalence_test: How the last two p-values were made.
        margin: In the unit of ``difference``.
    """

    difference: Estimate
    effect: Estimate
    effect_name: str
    p: float | None
    test: str
    p_no_worse: float | None
    p_equivalent: float | None
    equivalence_test: str
    margin: float


@dataclass(frozen=True)
class Terms:
    """How a difference of rates or scores is tested and described.

    Attributes:
        resampling: How the intervals are made.
        margin: How much worse counts as no worse, in the unit of the values.
        unit: What one pair is.
        higher_is_better: Whether the arm is worse where it is lower.
    """

    resampling: Resampling
    margin: float
    unit: str = "prompts"
    higher_is_better: bool = False


def paired_rates(arm: Values, reference: Values, terms: Terms) -> Paired:
    """Compare two rates over the same prompts.

    Args:
        arm: ``(n,)`` shares from 0 to 1; 0 or 1 where a prompt was answered once, between them
            where its answers were averaged over seeds, draws or styles. NaN = not scored.
        reference: The same prompts in the same order.
        terms: Margin as a difference of rates.

    Returns:
        The comparison by McNemar's exact test where every value is 0 or 1, else by a sign-flip
        permutation test of the mean difference; a gap if no prompt was scored in both arms.
    """
    arm, reference = _both_scored(arm, reference)
    if arm.size == 0:
        return gap(terms, COHENS_H, "no prompt scored in both arms")
    effect = cohens_h(arm, reference, terms.resampling, terms.unit)
    return _paired(arm, reference, terms, effect, COHENS_H)


def paired_means(arm: Values, reference: Values, terms: Terms, span: float) -> Paired:
    """Compare two mean scores of the same answers.

    Args:
        arm: ``(n,)`` scores; NaN = not scored.
        reference: The same answers in the same order.
        terms: Margin in points of the score.
        span: Highest score there can be minus the lowest.

    Returns:
        The comparison by a sign-flip permutation test of the mean difference; the effect is
        Cohen's d of paired differences. A gap if no answer was scored in both arms.
    """
    arm, reference = _both_scored(arm, reference)
    if arm.size == 0:
        return gap(terms, COHENS_DZ, "no answer scored in both arms")
    effect = cohens_dz(differences_of(arm, reference), terms.resampling, terms.unit)
    shares = replace(terms, margin=terms.margin / span)
    found = _paired(arm / span, reference / span, shares, effect, COHENS_DZ)
    return replace(
        found, difference=found.difference.mapped(lambda end: end * span), margin=terms.margin
    )


def _paired(
    arm: Values, reference: Values, terms: Terms, effect: Estimate, effect_name: str
) -> Paired:
    """Compare values that were scored in both arms and whose differences lie between -1 and 1."""
    differences, resampling, unit = differences_of(arm, reference), terms.resampling, terms.unit
    few = few_differ(differences)
    whole = bool(np.isin(arm, (0, 1)).all() and np.isin(reference, (0, 1)).all())
    binary = whole and effect_name == COHENS_H
    p, test = mcnemar(arm, reference) if binary else sign_flips(differences)
    worse = -1.0 if terms.higher_is_better else 1.0
    no_worse, equivalent, how = (
        exact_equivalence(worse * differences, terms.margin, unit)
        if few
        else tost(worse * arm, worse * reference, terms.margin)
    )
    return Paired(
        difference=(
            exact_interval(differences, resampling, unit, whole=whole)
            if few
            else bootstrap(differences, resampling, unit)
        ),
        effect=effect,
        effect_name=effect_name,
        p=p,
        test=test,
        p_no_worse=no_worse,
        p_equivalent=equivalent,
        equivalence_test=how,
        margin=terms.margin,
    )


def paired_losses(arm: Values, reference: Values, resampling: Resampling, margin: float) -> Paired:
    """Compare two mean losses over the same text windows.

    Args:
        arm: ``(windows,)`` nats per token.
        reference: The same windows in the same order.
        resampling: How the intervals are made.
        margin: In nats per token.

    Returns:
        The comparison by a sign-flip permutation test of the mean difference, whose interval is
        Student's t below :data:`FEW_WINDOWS` windows and a paired bootstrap from there on. A gap if
        a loss is not finite or there are fewer than two windows.
    """
    terms = Terms(resampling, margin, "windows")
    if not (np.isfinite(arm).all() and np.isfinite(reference).all()):
        return gap(terms, RATIO, "a loss is not finite")
    if arm.size < 2:
        return gap(terms, RATIO, "fewer than two windows")
    differences = differences_of(arm, reference)
    difference = (
        mean_over(differences.tolist(), resampling.confidence, "windows")
        if differences.size < FEW_WINDOWS
        else bootstrap(differences, resampling, "windows")
    )
    p, test = sign_flips(differences)
    if alike(differences.tolist()):
        no_worse = equivalent = None
        how = "none: all windows differ alike"
    else:
        no_worse, equivalent, how = tost(arm, reference, margin)
    return Paired(
        difference=difference,
        effect=difference.mapped(exp),
        effect_name=RATIO,
        p=p,
        test=test,
        p_no_worse=no_worse,
        p_equivalent=equivalent,
        equivalence_test=how,
        margin=margin,
    )


@dataclass(frozen=True)
class OverSeeds:
    """Differences of whole runs, one per seed.

    Attributes:
        mean: Their mean with Student's t interval.
        p: Two-sided p-value of no difference by a t test; None with one seed, where a difference is
            not finite, or where all are equal up to rounding.
    """

    mean: Estimate
    p: float | None


def over_seeds(differences: Sequence[float], confidence: float) -> OverSeeds:
    """Whether a difference holds over seeds, each counted once."""
    sample = np.asarray(differences, dtype=np.float64)
    mean = mean_over(differences, confidence, "seeds")
    if not np.isfinite(sample).all() or alike(differences):
        return OverSeeds(mean, None)
    return OverSeeds(mean, float(stats.ttest_1samp(sample, 0.0).pvalue))


def _both_scored(arm: Values, reference: Values) -> tuple[Values, Values]:
    scored = ~(np.isnan(arm) | np.isnan(reference))
    return arm[scored], reference[scored]


def gap(terms: Terms, effect: str, why: str) -> Paired:
    """A comparison of two arms that is a gap, and why; ``effect`` names the effect's kind."""
    gap = Estimate(None, None, None, 0, terms.unit, f"none: {why}")
    return Paired(gap, gap, effect, None, why, None, None, why, terms.margin)
