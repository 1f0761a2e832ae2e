"""Paired tests against counting by hand, enumeration and textbook formulas."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from ssah_exp.evaluation.paired import (
    FEW,
    Level,
    holm,
    over_seeds,
    paired_losses,
    paired_rates,
)

LEVEL = Level(0.95, 2000)


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
    found = paired_rates(*pairs(7, arm, reference, 31), LEVEL, 0.05)
    assert found.p == pytest.approx(float(mcnemar_by_counting(arm, reference)))
    n = 38 + arm + reference
    assert found.difference.value == pytest.approx((arm - reference) / n)
    assert found.difference.n == n
    assert found.test == "McNemar, exact"


def test_order_of_the_prompts_matters_only_pairwise() -> None:
    one, other = pairs(20, 15, 5, 60)
    shuffled = np.random.default_rng(0).permutation(len(one))
    plain = paired_rates(one, other, LEVEL, 0.05)
    assert paired_rates(one[shuffled], other[shuffled], LEVEL, 0.05).p == plain.p
    unpaired = paired_rates(one[shuffled], other, LEVEL, 0.05)
    assert unpaired.difference.value == pytest.approx(plain.difference.value)
    assert unpaired.p != plain.p, "the same rates, but pairs torn apart"


def test_the_interval_is_about_the_normal_one_where_that_holds() -> None:
    one, other = pairs(500, 300, 200, 1000)
    found = paired_rates(one, other, LEVEL, 0.05).difference
    half = 1.96 * np.std(one - other, ddof=1) / math.sqrt(2000)
    assert found.low == pytest.approx(0.05 - half, abs=0.003)
    assert found.high == pytest.approx(0.05 + half, abs=0.003)


def test_no_change_at_all_is_no_certainty() -> None:
    """0 of 100 against 0 of 100: a bootstrap would say exactly 0."""
    found = paired_rates(*pairs(0, 0, 0, 100), LEVEL, 0.05)
    bound = 1 - (0.05 / 4) ** (1 / 100)  # a share of this size is seen 0 times that rarely
    assert found.difference.low == pytest.approx(-bound)
    assert found.difference.high == pytest.approx(bound)
    assert found.p == 1
    assert found.p_no_worse == pytest.approx(0.95**100)
    assert found.p_equivalent == pytest.approx(0.95**100)
    assert found.effect.low is None


def test_everything_changed_is_no_certainty_either() -> None:
    found = paired_rates(*pairs(0, 100, 0, 0), LEVEL, 0.05)
    assert found.difference.value == found.difference.high == 1
    assert 0.9 < found.difference.low < 0.96  # type: ignore[operator]
    assert found.p_no_worse == found.p_equivalent == 1
    assert found.effect.value == pytest.approx(math.pi)


def test_the_exact_bounds_keep_their_level() -> None:
    """Few prompts change: the interval holds the truth at least as often as it says."""
    draw, truth, held = np.random.default_rng(1), 0.02 - 0.01, 0
    for _ in range(400):
        kinds = draw.choice([1.0, -1.0, 0.0], size=100, p=[0.02, 0.01, 0.97])
        found = paired_rates((kinds > 0) * 1.0, (kinds < 0) * 1.0, LEVEL, 0.05).difference
        held += bool(found.low <= truth <= found.high)  # type: ignore[operator]
    assert held / 400 >= 0.95


def test_bounds_of_averaged_answers_start_from_the_most_common_difference() -> None:
    """95 prompts fell by 1, five by half: nothing near 0 is possible."""
    one, other = np.zeros(100), np.array([1.0] * 95 + [0.5] * 5)
    found = paired_rates(one, other, LEVEL, 0.05).difference
    above = stats.beta.ppf(1 - 0.05 / 4, 6, 95)  # Clopper and Pearson's bound for 5 of 100
    assert found.value == pytest.approx(-0.975)
    assert (found.low, found.high) == pytest.approx((-1, -1 + 2 * above))
    assert found.high < -0.7  # type: ignore[operator]


def test_a_change_more_never_makes_no_worse_more_certain() -> None:
    """A t test alone would: one prompt that changed has hardly any variance."""
    p_values = [paired_rates(*pairs(0, k, 0, 100 - k), LEVEL, 0.05).p_no_worse for k in range(FEW)]
    assert p_values == sorted(p_values)  # type: ignore[type-var]


def test_tost_is_two_t_tests_where_many_changed() -> None:
    one, other = pairs(100, 20, 18, 262)
    found = paired_rates(one, other, LEVEL, 0.05)
    d = one - other
    error = np.std(d, ddof=1) / math.sqrt(400)
    below = stats.t.cdf((d.mean() - 0.05) / error, 399)
    above = stats.t.sf((d.mean() + 0.05) / error, 399)
    assert found.p_no_worse == pytest.approx(below)
    assert found.p_equivalent == pytest.approx(max(below, above))
    assert below < 0.05


def test_cohens_h_is_the_difference_of_arcsines() -> None:
    found = paired_rates(*pairs(10, 30, 10, 50), LEVEL, 0.05).effect
    expected = 2 * math.asin(math.sqrt(0.4)) - 2 * math.asin(math.sqrt(0.2))
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high  # type: ignore[operator]


def test_unscored_prompts_are_left_out_in_pairs() -> None:
    one, other = pairs(5, 12, 2, 5)
    one[0] = other[1] = np.nan
    found = paired_rates(one, other, LEVEL, 0.05)
    assert found.difference.n == 22
    assert found.difference.value == pytest.approx(10 / 22)


def test_nothing_scored_is_a_gap() -> None:
    found = paired_rates(np.array([np.nan, 1.0]), np.array([0.0, np.nan]), LEVEL, 0.05)
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
    found = paired_rates(one, other, LEVEL, 0.05)
    assert found.test.startswith("sign-flip")
    assert found.p == pytest.approx(sign_flips_by_enumeration(one - other))


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


def test_losses_that_are_not_finite_are_a_gap_and_equal_ones_no_proof() -> None:
    broken = paired_losses(np.array([1.0, math.inf]), np.array([1.0, 2.0]), LEVEL, 0.05)
    assert broken.p is broken.difference.value is None
    same = paired_losses(np.array([1.0, 2.0]), np.array([1.0, 2.0]), LEVEL, 0.05)
    assert same.p == 1
    assert same.difference.value == 0
    assert same.difference.low is same.p_equivalent is None


def test_holm_steps_down() -> None:
    """Smallest times 4, next times 3, ...; never below an earlier one; gaps are no tests."""
    assert holm([0.03, None, 0.01, 0.5, 0.02]) == pytest.approx([0.06, None, 0.04, 0.5, 0.06])
    assert holm([None]) == [None]


def test_seeds_are_counted_once_each() -> None:
    found = over_seeds([0.1, 0.2, 0.3], 0.95)
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.2 - half, 0.2 + half))
    t = 0.2 / (0.1 / math.sqrt(3))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 2))
    assert over_seeds([0.1], 0.95).p is None
    assert over_seeds([0.1, 0.1], 0.95).p is None
    assert over_seeds([], 0.95).mean.value is None
