"""Two arms on the same prompts or text windows, by the tests of scipy and statsmodels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint, proportion_effectsize
from statsmodels.stats.weightstats import ttost_paired

from ssah_exp.evaluation.intervals import Estimate, mean_over

Values = NDArray[np.float64]

# With fewer pairs than this that differ from the rest, means of differences are not near enough to
# normal, and a bootstrap sees next to no variation: exact binomial bounds take their place.
FEW = 10
_PERMUTATIONS = 9999


@dataclass(frozen=True)
class Margins:
    """How much worse counts as no worse.

    Attributes:
        rate: Difference of two rates, e.g. 0.05 for five points.
        loss: Difference of two losses in nats per token; 0.05 is about 5 % of perplexity.
    """

    rate: float = 0.05
    loss: float = 0.05


@dataclass(frozen=True)
class Level:
    """How intervals are made.

    Attributes:
        confidence: Their level.
        resamples: Of every bootstrap.
    """

    confidence: float = 0.95
    resamples: int = 2000


@dataclass(frozen=True)
class Paired:
    """What two arms differ by; ``arm - reference``, so that above 0 is worse.

    Attributes:
        difference: Of rates, or of mean losses in nats per token.
        effect: Cohen's h of two rates, or the ratio of two perplexities.
        effect_name: ``Cohen's h`` or ``perplexity ratio``.
        p: Of no difference, two-sided; None is a gap.
        test: How ``p`` was made.
        p_no_worse: Of being worse by the margin or more (one-sided).
        p_equivalent: Of differing by the margin or more, in either direction (TOST).
        equivalence_test: How these two were made.
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


def paired_rates(arm: Values, reference: Values, level: Level, margin: float) -> Paired:
    """Compare two rates over the same prompts.

    Args:
        arm: ``(n,)`` shares from 0 to 1; 0 or 1 where a prompt was answered once, between them
            where its answers were averaged over seeds, draws or styles. NaN = not scored.
        reference: The same prompts in the same order.
        level: Of the intervals.
        margin: As a difference of rates.

    Returns:
        McNemar's exact test where every value is 0 or 1, else a sign-flip permutation test of
        the mean difference.
    """
    arm, reference = _both_scored(arm, reference)
    if arm.size == 0:
        return _gap("prompts", "Cohen's h", margin, "no prompt scored in both arms")
    differences = arm - reference
    whole = bool(np.isin(arm, (0, 1)).all() and np.isin(reference, (0, 1)).all())
    few = _few(differences)
    p, test = _mcnemar(arm, reference) if whole else _sign_flips(differences)
    no_worse, equivalent, how = (
        _exact_equivalence(differences, margin) if few else _tost(arm, reference, margin)
    )
    return Paired(
        difference=(
            _exact_interval(differences, level, whole=whole)
            if few
            else _bootstrap(differences, level, "prompts")
        ),
        effect=_cohens_h(arm, reference, level, few=few),
        effect_name="Cohen's h",
        p=p,
        test=test,
        p_no_worse=no_worse,
        p_equivalent=equivalent,
        equivalence_test=how,
        margin=margin,
    )


def paired_losses(arm: Values, reference: Values, level: Level, margin: float) -> Paired:
    """Compare two mean losses over the same text windows.

    Args:
        arm: ``(windows,)`` nats per token.
        reference: The same windows in the same order.
        level: Of the intervals.
        margin: In nats per token.
    """
    name = "perplexity ratio"
    if not (np.isfinite(arm).all() and np.isfinite(reference).all()):
        return _gap("windows", name, margin, "a loss is not finite")
    if arm.size < 2:
        return _gap("windows", name, margin, "fewer than two windows")
    differences = arm - reference
    difference = _bootstrap(differences, level, "windows")
    p, test = _sign_flips(differences)
    if np.ptp(differences) == 0:
        no_worse = equivalent = None
        how = "none: all windows differ alike"
    else:
        no_worse, equivalent, how = _tost(arm, reference, margin)
    return Paired(
        difference=difference,
        effect=_exp(difference),
        effect_name=name,
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
        p: Of no difference, two-sided t; None with one seed, or where all seeds differ alike.
    """

    mean: Estimate
    p: float | None


def over_seeds(differences: Sequence[float], confidence: float) -> OverSeeds:
    """Whether a difference holds over seeds, each counted once."""
    sample = np.asarray(differences, dtype=np.float64)
    mean = mean_over(differences, confidence, "seeds")
    if sample.size < 2 or not np.isfinite(sample).all() or np.ptp(sample) == 0:
        return OverSeeds(mean, None)
    return OverSeeds(mean, float(stats.ttest_1samp(sample, 0.0).pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment over every p value that is there; gaps stay gaps."""
    there = [p for p in p_values if p is not None]
    if not there:
        return list(p_values)
    adjusted = iter(multipletests(there, method="holm")[1])
    return [None if p is None else float(next(adjusted)) for p in p_values]


def _both_scored(arm: Values, reference: Values) -> tuple[Values, Values]:
    scored = ~(np.isnan(arm) | np.isnan(reference))
    return arm[scored], reference[scored]


def _few(differences: Values) -> bool:
    """Whether fewer than :data:`FEW` pairs differ from the most common difference."""
    _, counts = np.unique(differences, return_counts=True)
    return bool(differences.size - counts.max() < FEW)


def _mcnemar(arm: Values, reference: Values) -> tuple[float, str]:
    table = [
        [int(((arm == a) & (reference == b)).sum()) for b in (0, 1)]  # rows: arm
        for a in (0, 1)
    ]
    return float(mcnemar(table, exact=True).pvalue), "McNemar, exact"


def _sign_flips(differences: Values) -> tuple[float, str]:
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue), "sign-flip permutation of paired differences"


def _bootstrap(differences: Values, level: Level, unit: str) -> Estimate:
    value, n = float(differences.mean()), int(differences.size)
    if np.ptp(differences) == 0:
        return Estimate(value, None, None, n, unit, "none: all pairs alike")
    found = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=level.confidence,
        n_resamples=level.resamples,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    method = f"paired percentile bootstrap {level.confidence:.0%}, {level.resamples} resamples"
    return Estimate(value, float(found.low), float(found.high), n, unit, method)


def _exact_interval(differences: Values, level: Level, *, whole: bool) -> Estimate:
    """Bounds from the shares of prompts above and below some value, each at half the error.

    Where every difference is -1, 0 or 1, their mean is exactly the share that rose less the share
    that fell. Averaged answers may differ by anything between: their mean then lies no farther
    from the most common difference than if all the others were at the ends.
    """
    n, alpha = int(differences.size), (1 - level.confidence) / 2
    values, counts = np.unique(differences, return_counts=True)
    common = 0.0 if whole else float(values[counts.argmax()])
    (above_low, above_high), (below_low, below_high) = (
        proportion_confint(int(part.sum()), n, alpha=alpha, method="beta")
        for part in (differences > common, differences < common)
    )
    if whole:
        low, high = above_low - below_high, above_high - below_low
    else:
        low = common - (1 + common) * below_high
        high = common + (1 - common) * above_high
    method = f"Clopper-Pearson of prompts that differ, Bonferroni {level.confidence:.0%}"
    mean = float(differences.mean())
    return Estimate(mean, float(low), float(high), n, "prompts", method)


def _exact_equivalence(differences: Values, margin: float) -> tuple[float, float, str]:
    """Worse by the margin means that at least that share of prompts rose; likewise for better."""
    n = int(differences.size)
    worse, better = (
        float(stats.binomtest(int(changed.sum()), n, margin, alternative="less").pvalue)
        for changed in (differences > 0, differences < 0)
    )
    return worse, max(worse, better), "exact binomial on prompts that changed"


def _tost(arm: Values, reference: Values, margin: float) -> tuple[float, float, str]:
    both, _, (_, below_upper, _) = ttost_paired(arm, reference, -margin, margin)
    return float(below_upper), float(both), "two one-sided paired t tests"


def _cohens_h(arm: Values, reference: Values, level: Level, *, few: bool) -> Estimate:
    def statistic(one: Values, other: Values, axis: int = -1) -> Values:
        shares = (np.clip(values.mean(axis=axis), 0, 1) for values in (one, other))
        found: Values = proportion_effectsize(*shares)
        return found

    value, n = float(statistic(arm, reference)), int(arm.size)
    if few:
        return Estimate(value, None, None, n, "prompts", "none: too few pairs differ")
    found = stats.bootstrap(
        (arm, reference),
        statistic,
        paired=True,
        vectorized=True,
        confidence_level=level.confidence,
        n_resamples=level.resamples,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    method = f"paired percentile bootstrap {level.confidence:.0%}, {level.resamples} resamples"
    return Estimate(value, float(found.low), float(found.high), n, "prompts", method)


def _exp(difference: Estimate) -> Estimate:
    def safe(value: float | None) -> float | None:
        if value is None:
            return None
        with np.errstate(over="ignore"):
            return float(np.exp(value))

    assert difference.value is not None
    ends = safe(difference.low), safe(difference.high)
    return Estimate(safe(difference.value), *ends, difference.n, "windows", difference.method)


def _gap(unit: str, effect: str, margin: float, why: str) -> Paired:
    gap = Estimate(None, None, None, 0, unit, f"none: {why}")
    return Paired(gap, gap, effect, None, why, None, None, why, margin)
