"""Intervals: known values, gaps instead of zeros, no interval from one observation."""

from __future__ import annotations

import math
from statistics import mean, stdev

import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import (
    Resampling,
    alike,
    level_text,
    mean_of_rates,
    perplexity,
    rate,
)
from ssah_exp.evaluation.over_seeds import mean_over, perplexity_over_seeds, rate_over_seeds


# Wilson score intervals as printed in Newcombe 1998, Table I (method 3).
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_published_values(successes: int, n: int, low: float, high: float) -> None:
    found = rate(successes, n, 0.95)
    assert found.value == pytest.approx(successes / n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert (found.n, found.method) == (n, "Wilson 95%")


@pytest.mark.parametrize(
    ("confidence", "said"), [(0.9, "90%"), (0.95, "95%"), (0.995, "99.5%"), (0.9999, "99.99%")]
)
def test_no_level_is_rounded_to_certainty(confidence: float, said: str) -> None:
    """1 - 0.05 and 0.58 are a hair off in binary, too."""
    assert rate(1, 9, confidence).method == f"Wilson {said}"
    assert level_text(1 - (1 - confidence)) == said
    assert level_text(0.58) == "58%"


def wilson(share: float, n: int, z: float) -> tuple[float, float]:
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return middle - half, middle + half


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("successes", [3, 7.5])
def test_wilson_matches_the_formula(successes: float, confidence: float) -> None:
    found = rate(successes, 12, confidence)
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    assert (found.low, found.high) == pytest.approx(wilson(successes / 12, 12, z))


@pytest.mark.parametrize("n", range(1, 60))
def test_at_the_edge_the_interval_has_width_and_holds_its_value(n: int) -> None:
    none, all_ = rate(0, n, 0.95), rate(n, n, 0.95)
    assert 0 == none.low == none.value < none.high < 1  # type: ignore[operator]
    assert 0 < all_.low < all_.value == all_.high == 1  # type: ignore[operator]


def test_no_prompts_are_a_gap_and_not_zero() -> None:
    found = rate(0, 0, 0.95)
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


LOSSES = [2.0, 2.4, 1.7, 3.1, 2.2, 2.8, 1.9, 2.5]


def test_perplexity_is_the_exponential_of_the_mean_inside_its_interval() -> None:
    found = perplexity(LOSSES, Resampling(0.95, 500))
    assert found.value == pytest.approx(math.exp(mean(LOSSES)))
    assert math.exp(min(LOSSES)) < found.low < found.value < found.high < math.exp(max(LOSSES))  # type: ignore[operator]
    assert (found.n, found.unit) == (8, "windows")


def test_the_bootstrap_is_near_the_normal_interval_and_narrows_with_confidence() -> None:
    many = LOSSES * 20
    wide, narrow = perplexity(many, Resampling(0.99, 2000)), perplexity(many, Resampling(0.8, 2000))
    margin = 2.576 * stdev(many) / math.sqrt(len(many))
    assert math.log(wide.high) - mean(many) == pytest.approx(margin, rel=0.15)  # type: ignore[arg-type]
    assert wide.low < narrow.low < narrow.high < wide.high  # type: ignore[operator]


def test_the_seed_decides_the_bootstrap_and_0_is_one() -> None:
    first = perplexity(LOSSES, Resampling(0.95, 200))
    assert perplexity(LOSSES, Resampling(0.95, 200)) == first
    assert perplexity(LOSSES, Resampling(0.95, 200, 1)) != first


@pytest.mark.parametrize(
    ("losses", "value", "why"),
    [
        ([1.0] * 8, math.e, "none: all windows alike"),
        ([math.inf] * 8, math.inf, "none: a loss is infinite"),
        ([1.0, math.inf], math.inf, "none: a loss is infinite"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_windows_that_tell_no_spread_have_no_interval(
    losses: list[float], value: float, why: str
) -> None:
    found = perplexity(losses, Resampling(0.95, 2000))
    assert (found.value, found.low, found.high) == (pytest.approx(value), None, None)
    assert (found.n, found.method) == (len(losses), why)


def test_one_window_has_no_interval() -> None:
    found = perplexity([2.0], Resampling(0.95, 200))
    assert found.value == pytest.approx(math.exp(2.0))
    assert (found.low, found.high, found.n) == (None, None, 1)
    assert found.method.startswith("none")


def test_a_perplexity_beyond_floats_is_infinite() -> None:
    assert perplexity([800.0, 900.0], Resampling(0.95, 200)).value == math.inf


def test_a_loss_that_is_no_number_is_a_gap() -> None:
    found = perplexity([2.0, math.nan, 2.1], Resampling(0.95, 200))
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 3)
    assert found.method == "none: a loss is not a number"


def test_rounding_is_no_spread() -> None:
    differences = [0.3 - 0.1, 0.4 - 0.2, 0.5 - 0.3]
    assert len(set(differences)) > 1
    assert alike(differences)
    assert not alike([0.2, 0.2 + 1e-6])
    assert not alike([math.inf, 1.0])
    found = mean_over(differences, 0.95, "seeds")
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high, found.method) == (None, None, "none: all seeds alike")


def test_mean_over_seeds_matches_student_t_by_hand() -> None:
    found = mean_over([0.5, 0.6, 0.85], 0.95, "seeds")
    margin = 4.302652729911275 * stdev([0.5, 0.6, 0.85]) / math.sqrt(3)
    assert found.value == pytest.approx(0.65)
    assert (found.low, found.high) == pytest.approx((0.65 - margin, 0.65 + margin))
    assert (found.n, found.method) == (3, "Student t 95% over seeds")


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_means_have_intervals_of_the_level_asked_for(confidence: float) -> None:
    values, level = [0.5, 0.6, 0.85], 0.5 + confidence / 2
    found = mean_over(values, confidence, "seeds")
    margin = stats.t.ppf(level, 2) * stdev(values) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.65 - margin, 0.65 + margin))
    rates = mean_of_rates([(30, 100), (10, 40)], confidence)
    one, other = rate(30, 100, confidence), rate(10, 40, confidence)
    below = math.hypot(0.3 - (one.low or 1), 0.25 - (other.low or 1)) / 2
    above = math.hypot((one.high or 0) - 0.3, (other.high or 0) - 0.25) / 2
    assert (rates.low, rates.high) == pytest.approx((0.275 - below, 0.275 + above))


def test_one_seed_has_no_interval_and_none_is_a_gap() -> None:
    one, none = mean_over([0.5], 0.95, "seeds"), mean_over([], 0.95, "seeds")
    assert (one.value, one.low, one.high, one.n) == (0.5, None, None, 1)
    assert (none.value, none.low, none.high, none.n) == (None, None, None, 0)


def test_a_mean_that_is_infinite_has_no_interval() -> None:
    found = mean_over([math.inf, 5.0], 0.95, "seeds")
    assert (found.value, found.low, found.high) == (math.inf, None, None)


@pytest.mark.filterwarnings("error")
def test_infinities_of_both_signs_have_no_mean() -> None:
    found = mean_over([math.inf, -math.inf], 0.95, "seeds")
    assert found.value is not None
    assert math.isnan(found.value)


def test_a_rate_over_seeds_never_leaves_0_to_1_nor_shrinks_to_nothing() -> None:
    wide = rate_over_seeds([0.83, 0.89], 100, 0.95)
    assert (wide.value, wide.high, wide.n) == (pytest.approx(0.86), 1.0, 2)
    assert wide.low == pytest.approx(mean_over([0.83, 0.89], 0.95, "seeds").low)
    same = rate_over_seeds([0.0, 0.0, 0.0], 100, 0.95)
    assert (same.low, same.high) == (0.0, rate(0, 100, 0.95).high)
    assert rate_over_seeds([0.5], 100, 0.95).low is None


def test_a_perplexity_over_seeds_stays_positive() -> None:
    found = perplexity_over_seeds([1600.0, 2200.0], 0.95)
    low, high = stats.t.interval(
        0.95,
        1,
        mean([math.log(1600), math.log(2200)]),
        stats.sem([math.log(1600), math.log(2200)]),
    )
    assert found.value == pytest.approx(math.sqrt(1600 * 2200))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert found.low is not None
    assert found.low > 0
    assert perplexity_over_seeds([math.inf, 10.0], 0.95).value == math.inf
