"""Paired tests against counting by hand, enumeration and textbook formulas."""

from __future__ import annotations

import itertools
import math
import tracemalloc
import warnings
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import FEW, Resampling
from ssah_exp.evaluation.paired import (
    COHENS_DZ,
    Terms,
    over_seeds,
    paired_losses,
    paired_means,
    paired_rates,
)
from ssah_exp.evaluation.paired_tests import cohens_dz

LEVEL = Resampling(0.95, 2000)
TERMS = Terms(LEVEL, 0.05)


def pairs(both: int, arm: int, reference: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts with so many prompts that count in both, in one alone, or in neither."""
    rows = [(1, 1)] * both + [(1, 0)] * arm + [(0, 1)] * reference + [(0, 0)] * neither
    one, other = np.array(rows, dtype=float).T
    return one, other


def mcnemar_by_counting(arm: int, reference: int) -> Fraction:
    """Two-sided: twice the smaller tail of a fair coin, at most 1."""
    n = arm + reference
    tail = sum(math.comb(n, k) for k in range(min(arm, reference) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2**n))


@pytest.mark.parametrize(
    ("arm", "reference"), [(0, 0), (1, 0), (3, 10), (10, 3), (40, 2), (12, 12), (0, 60)]
)
def test_mcnemar_counts_the_prompts_that_changed(arm: int, reference: int) -> None:
    found = paired_rates(*pairs(7, arm, reference, 31), TERMS)
    assert found.p == pytest.approx(float(mcnemar_by_counting(arm, reference)))
    n = 38 + arm + reference
    assert found.difference.value == pytest.approx((arm - reference) / n)
    assert found.difference.n == n
    assert found.test == "McNemar, exact"


def test_order_of_the_prompts_matters_only_pairwise() -> None:
    one, other = pairs(20, 15, 5, 60)
    shuffled = np.random.default_rng(0).permutation(len(one))
    plain = paired_rates(one, other, TERMS)
    assert paired_rates(one[shuffled], other[shuffled], TERMS).p == plain.p
    unpaired = paired_rates(one[shuffled], other, TERMS)
    assert unpaired.difference.value == pytest.approx(plain.difference.value)
    assert unpaired.p != plain.p, "the same rates, but pairs torn apart"


def test_the_interval_is_about_the_normal_one_where_that_holds() -> None:
    one, other = pairs(500, 300, 200, 1000)
    found = paired_rates(one, other, TERMS).difference
    half = 1.96 * np.std(one - other, ddof=1) / math.sqrt(2000)
    assert found.low == pytest.approx(0.05 - half, abs=0.003)
    assert found.high == pytest.approx(0.05 + half, abs=0.003)


def test_no_change_at_all_is_no_certainty() -> None:
    """0 of 100 against 0 of 100: a bootstrap would say exactly 0."""
    found = paired_rates(*pairs(0, 0, 0, 100), TERMS)
    bound = 1 - (0.05 / 4) ** (1 / 100)  # a share of this size is seen 0 times that rarely
    assert found.difference.low == pytest.approx(-bound)
    assert found.difference.high == pytest.approx(bound)
    assert found.p == 1
    assert found.p_no_worse == pytest.approx(0.95**100)
    assert found.p_equivalent == pytest.approx(0.95**100)
    assert found.effect.low is None


def test_everything_changed_is_no_certainty_either() -> None:
    found = paired_rates(*pairs(0, 100, 0, 0), TERMS)
    assert found.difference.value == found.difference.high == 1
    assert 0.9 < found.difference.low < 0.96  # type: ignore[operator]
    assert found.p_no_worse == found.p_equivalent == 1
    assert found.effect.value == pytest.approx(math.pi)


def test_the_exact_bounds_keep_their_level() -> None:
    """Few prompts change: the interval holds the truth at least as often as it says."""
    draw, truth, held = np.random.default_rng(1), 0.02 - 0.01, 0
    for _ in range(400):
        kinds = draw.choice([1.0, -1.0, 0.0], size=100, p=[0.02, 0.01, 0.97])
        found = paired_rates((kinds > 0) * 1.0, (kinds < 0) * 1.0, TERMS).difference
        held += bool(found.low <= truth <= found.high)  # type: ignore[operator]
    assert held / 400 >= 0.95


def test_bounds_of_averaged_answers_start_from_the_most_common_difference() -> None:
    """95 prompts fell by 1, five by half: nothing near 0 is possible."""
    one, other = np.zeros(100), np.array([1.0] * 95 + [0.5] * 5)
    found = paired_rates(one, other, TERMS).difference
    above = stats.beta.ppf(1 - 0.05 / 4, 6, 95)  # Clopper and Pearson's bound for 5 of 100
    assert found.value == pytest.approx(-0.975)
    assert (found.low, found.high) == pytest.approx((-1, -1 + 2 * above))
    assert found.high < -0.7  # type: ignore[operator]


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_bounds_have_the_level_asked_for(confidence: float) -> None:
    """Three of 100 prompts rose, one fell; each share is bounded at half the error."""
    terms = replace(TERMS, resampling=Resampling(confidence, 100))
    found = paired_rates(*pairs(0, 3, 1, 96), terms).difference
    alpha = (1 - confidence) / 4
    low = stats.beta.ppf(alpha, 3, 98) - stats.beta.ppf(1 - alpha, 2, 99)
    high = stats.beta.ppf(1 - alpha, 4, 97) - stats.beta.ppf(alpha, 1, 100)
    assert (found.low, found.high) == pytest.approx((low, high))


def averaged(*seeds: tuple[float, ...]) -> np.ndarray:
    """Fifty prompts each of answers averaged over three seeds."""
    return np.repeat([np.mean(answers) for answers in seeds], 50)


def test_differences_that_are_alike_but_for_rounding_are_alike() -> None:
    """Every prompt rose by a third: 1 - 2/3 in one half, 1/3 - 0 in the other."""
    one, other = averaged((1, 1, 1), (1, 0, 0)), averaged((1, 1, 0), (0, 0, 0))
    assert np.ptp(one - other) > 0
    found = paired_rates(one, other, TERMS)
    below, above = stats.beta.ppf(1 - 0.05 / 4, 1, 100), stats.beta.ppf(1 - 0.05 / 4, 1, 100)
    ends = (1 / 3 - 4 / 3 * below, 1 / 3 + 2 / 3 * above)
    assert (found.difference.low, found.difference.high) == pytest.approx(ends)
    assert found.effect.low is None
    scores = paired_means(5 - 4 * one, 5 - 4 * other, TERMS, span=4)
    assert scores.effect.value is None, "no spread but rounding's to measure the difference by"


@pytest.mark.parametrize("draws", [3, 10, 20])
def test_a_mean_of_draws_that_all_agree_with_the_arm_does_not_differ_from_it(draws: int) -> None:
    """The mean of ten thirds is no third in floating point."""
    arm = np.array([0.0, 1 / 3, 2 / 3, 1.0] * 25)
    controls = np.mean([arm] * draws, axis=0)
    found, same = paired_rates(arm, controls, TERMS), paired_rates(arm, arm, TERMS)
    assert (found.p, found.p_equivalent, found.p_no_worse) == (
        1.0,
        same.p_equivalent,
        same.p_no_worse,
    )
    losses = np.array([2.1, 2.3, 2.7, 1.9, 2.2])
    assert paired_losses(losses, np.mean([losses] * draws, axis=0), LEVEL, 0.05).p == 1.0


def test_a_margin_beyond_the_scale_is_never_reached() -> None:
    one, other = np.full(20, 4.0), np.array([4.0] * 18 + [3.0] * 2)
    found = paired_means(one, other, Terms(LEVEL, 5), span=4)
    assert (found.p_no_worse, found.p_equivalent) == (0, 0)


def test_a_change_more_never_makes_no_worse_more_certain() -> None:
    """A t test alone would: one prompt that changed has hardly any variance."""
    p_values = [paired_rates(*pairs(0, k, 0, 100 - k), TERMS).p_no_worse for k in range(FEW)]
    assert p_values == sorted(p_values)  # type: ignore[type-var]


def test_tost_is_two_t_tests_where_many_changed() -> None:
    one, other = pairs(100, 20, 18, 262)
    found = paired_rates(one, other, TERMS)
    d = one - other
    error = np.std(d, ddof=1) / math.sqrt(400)
    below = stats.t.cdf((d.mean() - 0.05) / error, 399)
    above = stats.t.sf((d.mean() + 0.05) / error, 399)
    assert found.p_no_worse == pytest.approx(below)
    assert found.p_equivalent == pytest.approx(max(below, above))
    assert below < 0.05


def test_cohens_h_is_the_difference_of_arcsines() -> None:
    found = paired_rates(*pairs(10, 30, 10, 50), TERMS).effect
    expected = 2 * math.asin(math.sqrt(0.4)) - 2 * math.asin(math.sqrt(0.2))
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high  # type: ignore[operator]


def test_unscored_prompts_are_left_out_in_pairs() -> None:
    one, other = pairs(5, 12, 2, 5)
    one[0] = other[1] = np.nan
    found = paired_rates(one, other, TERMS)
    assert found.difference.n == 22
    assert found.difference.value == pytest.approx(10 / 22)


def test_nothing_scored_is_a_gap() -> None:
    found = paired_rates(np.array([np.nan, 1.0]), np.array([0.0, np.nan]), TERMS)
    assert found.difference.value is found.p is found.p_equivalent is found.effect.value is None


def sign_flips_by_enumeration(differences: np.ndarray) -> float:
    """Share of all sign patterns whose mean lies as far out; twice the smaller tail."""
    means = [
        np.mean(np.array(signs) * differences)
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    seen = differences.mean()
    tails = (
        np.mean([m <= seen + 1e-12 for m in means]),
        np.mean([m >= seen - 1e-12 for m in means]),
    )
    return min(1.0, 2 * min(tails))


def test_averaged_answers_are_tested_by_flipping_signs() -> None:
    one = np.array([1, 0.5, 1, 0, 0.5, 1, 1, 0.5, 0])
    other = np.array([0, 0.5, 0.5, 0.5, 0, 0, 0.5, 0, 0])
    found = paired_rates(one, other, TERMS)
    assert found.test.startswith("sign-flip")
    assert found.p == pytest.approx(sign_flips_by_enumeration(one - other))


def test_sign_patterns_of_one_mean_are_ties_whatever_the_rounding() -> None:
    """Thirds have no end as floats: patterns that tie exactly are no less extreme than what is."""
    thirds = [2, 1, 1, -1, -3, 0, 2]
    sums = [
        sum(sign * third for sign, third in zip(signs, thirds, strict=True))
        for signs in itertools.product((1, -1), repeat=len(thirds))
    ]
    exact = 2 * min(
        sum(total >= sum(thirds) for total in sums), sum(total <= sum(thirds) for total in sums)
    ) / len(sums)  # fmt: skip
    one = np.array([max(third, 0) / 3 for third in thirds])
    other = np.array([max(-third, 0) / 3 for third in thirds])
    found = paired_rates(one, other, TERMS)
    assert found.test.startswith("sign-flip")
    assert found.p == pytest.approx(exact, abs=1e-12)


def test_losses_are_tested_window_by_window() -> None:
    one = np.array([3.1, 3.5, 2.9, 3.3, 3.0, 3.6, 3.2, 3.4])
    other = one - np.array([0.1, 0.2, 0.1, -0.05, 0.15, 0.1, 0.05, 0.1])
    found = paired_losses(one, other, LEVEL, 0.05)
    assert found.p == pytest.approx(sign_flips_by_enumeration(one - other))
    assert found.effect.value == pytest.approx(math.exp(0.09375))
    assert found.difference.low < 0.09375 < found.difference.high  # type: ignore[operator]
    expected = stats.ttest_1samp(one - other, 0.05, alternative="less").pvalue
    assert found.p_no_worse == pytest.approx(expected)
    generous = paired_losses(one, other, LEVEL, 0.5)
    assert generous.p_equivalent < 0.001  # type: ignore[operator]


def test_the_interval_of_few_windows_is_students() -> None:
    """A percentile bootstrap of 8 windows leaves the mean out twice as often as it says."""
    differences = np.random.default_rng(0).normal(0.1, 1, size=40)
    found = paired_losses(3 + differences[:8], np.full(8, 3.0), LEVEL, 0.05)
    expected = stats.ttest_1samp(differences[:8], 0).confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(expected))
    assert found.difference.method == "Student t 95% over windows"
    assert found.effect.high == pytest.approx(math.exp(expected.high))
    many = paired_losses(3 + differences, np.full(40, 3.0), LEVEL, 0.05).difference
    assert many.method.startswith("paired percentile bootstrap")


@pytest.mark.parametrize(
    ("windows", "method"), [(29, "Student t 95% over"), (30, "paired percentile bootstrap")]
)
def test_from_thirty_windows_on_the_interval_is_a_bootstrap(windows: int, method: str) -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, size=windows)
    found = paired_losses(3 + differences, np.full(windows, 3.0), LEVEL, 0.05)
    assert found.difference.method.startswith(method)
    assert found.difference.n == windows


def test_windows_that_differ_alike_but_for_rounding_prove_nothing() -> None:
    reference = np.array([2.1, 3.3, 4.7, 1.9])
    found = paired_losses(reference + 0.01, reference, LEVEL, 0.05)
    assert np.ptp(reference + 0.01 - reference) > 0
    assert found.difference.value == pytest.approx(0.01)
    assert found.difference.low is found.p_equivalent is found.p_no_worse is None


def test_losses_that_are_not_finite_are_a_gap_and_equal_ones_no_proof() -> None:
    broken = paired_losses(np.array([1.0, math.inf]), np.array([1.0, 2.0]), LEVEL, 0.05)
    assert broken.p is broken.difference.value is None
    same = paired_losses(np.array([1.0, 2.0]), np.array([1.0, 2.0]), LEVEL, 0.05)
    assert same.p == 1
    assert same.difference.value == 0
    assert same.difference.low is same.p_equivalent is None


def test_where_higher_is_better_falling_is_worse() -> None:
    one, other = pairs(100, 20, 60, 220)
    plain = paired_rates(one, other, TERMS)
    turned = paired_rates(one, other, replace(TERMS, higher_is_better=True))
    mirrored = paired_rates(other, one, TERMS)
    assert plain.p_no_worse < 0.001  # type: ignore[operator]
    assert turned.p_no_worse == pytest.approx(mirrored.p_no_worse)
    assert turned.p_no_worse > 0.9  # type: ignore[operator]
    assert turned.p_equivalent == pytest.approx(plain.p_equivalent)
    assert (turned.difference, turned.p) == (plain.difference, plain.p)


SCORES = np.random.default_rng(3).integers(1, 6, size=40).astype(float)
LOWER = np.maximum(SCORES - np.random.default_rng(4).integers(0, 3, size=40), 1)


def test_scores_are_compared_in_the_judges_points() -> None:
    found = paired_means(SCORES, LOWER, Terms(LEVEL, 0.2, "answers"), span=4)
    d = SCORES - LOWER
    assert found.difference.value == pytest.approx(d.mean())
    resamples = np.random.default_rng(0).choice(d, size=(20000, len(d))).mean(axis=1)
    low, high = np.quantile(resamples, (0.025, 0.975))
    assert found.difference.low == pytest.approx(low, abs=0.06)
    assert found.difference.high == pytest.approx(high, abs=0.06)
    assert (found.difference.n, found.difference.unit, found.margin) == (40, "answers", 0.2)
    assert found.p == pytest.approx(2 / 10_000), "every drawn pattern of signs lies nearer to 0"
    assert found.effect_name == COHENS_DZ
    assert found.effect.value == pytest.approx(d.mean() / d.std(ddof=1))
    assert found.effect.low < found.effect.value < found.effect.high  # type: ignore[operator]
    worse = stats.ttest_1samp(d, 0.2, alternative="less").pvalue
    assert found.p_no_worse == pytest.approx(worse)


def test_an_effect_whose_resamples_may_be_all_alike_has_no_interval() -> None:
    """Ten answers of many differ: a resample without any of them made both ends NaN."""
    seen = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        arm, reference = np.zeros(330), np.zeros(330)
        arm[draw.choice(330, size=10, replace=False)] = 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = cohens_dz(arm - reference, Resampling(0.95, 10_000), "answers")
        assert found.value == pytest.approx(np.mean(arm) / np.std(arm, ddof=1))
        assert (found.low is None) == (found.high is None) == found.method.startswith("none: a re")
        assert found.low is None or found.low < found.value  # type: ignore[operator]
        seen += found.low is None
    assert seen > 0


def test_a_scale_twice_as_wide_says_the_same_of_twice_the_points() -> None:
    few = LOWER.copy()
    few[LOWER.argmin()] += 1  # one answer rose: exact bounds, which need the scale
    one = paired_means(few, LOWER, Terms(LEVEL, 0.2), span=4)
    twice = paired_means(2 * few, 2 * LOWER, Terms(LEVEL, 0.4), span=8)
    assert one.difference.method.startswith("Clopper-Pearson")
    assert twice.difference.low == pytest.approx(2 * one.difference.low)  # type: ignore[operator]
    assert twice.difference.high == pytest.approx(2 * one.difference.high)  # type: ignore[operator]
    assert twice.p_no_worse == pytest.approx(one.p_no_worse)
    assert one.effect.low is None


def test_unscored_answers_and_none_at_all_are_gaps_of_scores() -> None:
    some, other = SCORES.copy(), LOWER.copy()
    some[0] = other[1] = np.nan
    assert paired_means(some, other, TERMS, span=4).difference.n == 38
    none = paired_means(np.array([np.nan]), np.array([1.0]), TERMS, span=4)
    assert none.difference.value is none.p is none.effect.value is None


def test_many_pairs_are_resampled_in_parts() -> None:
    """As one array, resamples of this many would take gigabytes."""
    draw = np.random.default_rng(2)
    one, other = draw.uniform(size=3_000), draw.uniform(size=3_000)
    tracemalloc.start()
    found = paired_rates(one, other, Terms(Resampling(0.95, 200), 0.05))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e9
    error = np.std(one - other, ddof=1) / math.sqrt(3_000)
    assert found.p == pytest.approx(
        2 * stats.norm.sf(abs(found.difference.value) / error), abs=0.02
    )  # type: ignore[arg-type]


def test_seeds_that_differ_by_rounding_are_no_evidence() -> None:
    found = over_seeds([0.3 - 0.1, 0.4 - 0.2, 0.5 - 0.3], 0.95)
    assert found.p is None
    assert (found.mean.low, found.mean.high) == (None, None)


def test_one_prompt_says_nothing() -> None:
    one = paired_rates(np.array([0.5]), np.array([0.25]), TERMS)
    assert (one.difference.value, one.p) == (0.25, 1.0)
    assert paired_means(np.array([5.0]), np.array([1.0]), TERMS, span=4).p == 1.0


def test_seeds_are_counted_once_each() -> None:
    found = over_seeds([0.1, 0.2, 0.3], 0.95)
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.2 - half, 0.2 + half))
    t = 0.2 / (0.1 / math.sqrt(3))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert over_seeds([0.1], 0.95).p is None
    assert over_seeds([0.1, 0.1], 0.95).p is None
    assert over_seeds([], 0.95).mean.value is None
