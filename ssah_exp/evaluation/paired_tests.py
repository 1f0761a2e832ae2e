"""What paired comparisons are made of: tests, intervals and effects of paired differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize
from statsmodels.stats.weightstats import ttost_paired

from ssah_exp.evaluation.intervals import (
    Estimate,
    Resampling,
    about_the_commonest,
    alike,
    few_differ,
    level_text,
)

Values = NDArray[np.float64]

_PERMUTATIONS = 9999
_DIGITS = 12  # decimals of a difference; the rest is rounding: 1 - 2/3 and 1/3 - 0 are the same
_DIGITS_OF_MEANS = 9
# Values that a resampling holds in memory at once; the limit applies above so many pairs.
_AT_ONCE, _MANY = 10_000_000, 1000


def differences_of(arm: Values, reference: Values) -> Values:
    """``arm - reference`` pair by pair, ``(n,)``, rounded as the functions below expect it."""
    differences: Values = (arm - reference).round(_DIGITS)
    return differences


def mcnemar(arm: Values, reference: Values) -> tuple[float, str]:
    """p-value of equally many prompts rising and falling, and its method; values are 0 or 1."""
    table = [
        [int(((arm == a) & (reference == b)).sum()) for b in (0, 1)]  # rows: arm
        for a in (0, 1)
    ]
    return float(statsmodels_mcnemar(table, exact=True).pvalue), "McNemar, exact"


def sign_flips(differences: Values) -> tuple[float, str]:
    """Two-sided p-value of a mean difference of 0, and its method."""
    how = "sign-flip permutation of paired differences"
    if differences.size == 1:  # both signs are as far from 0; scipy asks for two observations
        return 1.0, how
    found = stats.permutation_test(
        (differences,),
        _rounded_mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        batch=_batch(differences),
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue), how


def _rounded_mean(values: Values, axis: int) -> Values:
    """Means of sign patterns, rounded so that equal ones count as equal.

    A sum of thirds depends on its order, and scipy tolerates only about a hundredth of the digit
    that differences are rounded to.
    """
    means: Values = np.mean(values, axis=axis).round(_DIGITS_OF_MEANS)
    return means


def _batch(values: Values) -> int | None:
    """Resamples at a time; None = all."""
    return _AT_ONCE // values.size if values.size > _MANY else None


def bootstrap(differences: Values, resampling: Resampling, unit: str) -> Estimate:
    """The mean difference with its bootstrap interval; none where all pairs are alike."""
    value, n = float(differences.mean()), int(differences.size)
    if alike(differences.tolist()):
        return Estimate(value, None, None, n, unit, "none: all pairs alike")
    low, high = map(float, resampling.interval((differences,), np.mean, batch=_batch(differences)))
    return Estimate(value, low, high, n, unit, f"paired {resampling.method}")


def exact_interval(
    differences: Values, resampling: Resampling, unit: str, *, whole: bool
) -> Estimate:
    """Bounds from the shares of prompts above and below some value, each at half the error.

    Differences lie between -1 and 1. Where each is -1, 0 or 1 (``whole``), their mean is exactly
    the share that rose minus the share that fell. Averaged answers may differ by anything between:
    their mean then lies no farther from the most common difference than if all the others were at
    the ends.
    """
    n, alpha = int(differences.size), (1 - resampling.confidence) / 2
    if whole:
        (above_low, above_high), (below_low, below_high) = (
            proportion_confint(int(part.sum()), n, alpha=alpha, method="beta")
            for part in (differences > 0, differences < 0)
        )
        low, high = above_low - below_high, above_high - below_low
    else:
        # Half the error is more than one bound for each end asks for, and what tables hold.
        low, high = about_the_commonest(differences, (-1, 1), 1 - alpha)
    level = level_text(resampling.confidence)
    method = f"Clopper-Pearson of {unit} that differ, Bonferroni {level}"
    mean = float(differences.mean())
    return Estimate(mean, float(low), float(high), n, unit, method)


def exact_equivalence(differences: Values, margin: float, unit: str) -> tuple[float, float, str]:
    """Exact test on the prompts that changed; differences above 0 are worse, and none exceeds 1.

    To be worse by the margin, at least that share of prompts must have risen; likewise for better.

    Returns:
        p-value of being worse by the margin, of differing by it either way, and their method.
    """
    n, share = int(differences.size), min(margin, 1.0)
    worse, better = (
        float(stats.binomtest(int(changed.sum()), n, share, alternative="less").pvalue)
        for changed in (differences > 0, differences < 0)
    )
    return worse, max(worse, better), f"exact binomial on {unit} that changed"


def tost(arm: Values, reference: Values, margin: float) -> tuple[float, float, str]:
    """As :func:`exact_equivalence`, by t tests on the two arms; a higher value is worse."""
    both, _, (_, below_upper, _) = ttost_paired(arm, reference, -margin, margin)
    return float(below_upper), float(both), "two one-sided paired t tests"


def cohens_h(arm: Values, reference: Values, resampling: Resampling, unit: str) -> Estimate:
    """Effect size of two rates, Cohen's h (Cohen 1988); values lie from 0 to 1."""

    def statistic(one: Values, other: Values, axis: int = -1) -> Values:
        shares = (np.clip(values.mean(axis=axis), 0, 1) for values in (one, other))
        found: Values = proportion_effectsize(*shares)
        return found

    few = few_differ(differences_of(arm, reference))
    return _effect((arm, reference), statistic, resampling, unit, few=few)


def cohens_dz(differences: Values, resampling: Resampling, unit: str) -> Estimate:
    """Effect size of a mean difference: in standard deviations of the differences (Cohen 1988)."""

    def statistic(sample: Values, axis: int = -1) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample may be all alike
            found: Values = sample.mean(axis=axis) / sample.std(axis=axis, ddof=1)
        return found

    if alike(differences.tolist()):
        return Estimate(None, None, None, int(differences.size), unit, "none: all pairs alike")
    few = few_differ(differences)
    return _effect((differences,), statistic, resampling, unit, few=few)


def _effect(
    sample: tuple[Values, ...],
    statistic: Callable[..., Values],
    resampling: Resampling,
    unit: str,
    *,
    few: bool,
) -> Estimate:
    value, n = float(statistic(*sample)), int(sample[0].size)
    if few:
        return Estimate(value, None, None, n, unit, "none: too few pairs differ")
    with warnings.catch_warnings():  # said below
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        low, high = resampling.interval(sample, statistic, paired=True, batch=_batch(sample[0]))
    if not np.isfinite([low, high]).all():
        return Estimate(value, None, None, n, unit, "none: a resample has no pair that differs")
    return Estimate(value, float(low), float(high), n, unit, f"paired {resampling.method}")
