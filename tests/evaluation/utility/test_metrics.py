"""From outcomes to metrics: intervals, the mean, what is said of how they were made."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from ssah_exp.config.schema import UtilityConfig
from ssah_exp.evaluation.intervals import mean_of_rates, rate
from ssah_exp.evaluation.utility.metrics import leading_names, utility_metrics
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes

OUTCOMES = [
    TaskOutcomes("boolq", "2.0", 0, 3270, {"acc": [1, 1, 0, 1]}),
    TaskOutcomes("piqa", "1.0", 0, 1838, {"acc": [1, 0], "acc_norm": [1, 1]}),
]


@pytest.mark.parametrize(("metric", "mean"), [("acc", 0.625), ("acc_norm", 0.875)])
def test_the_mean_counts_each_task_once_by_its_leading_metric(metric: str, mean: float) -> None:
    utility = UtilityConfig(tasks=["boolq", "piqa"], limit=4, metric=metric)
    found = utility_metrics(OUTCOMES, utility, 0.95)
    assert set(found) == {
        "utility/boolq/acc",
        "utility/piqa/acc",
        "utility/piqa/acc_norm",
        "utility/mean",
    }
    assert found["utility/mean"].value == mean
    assert found["utility/mean"].n == 6
    assert leading_names(utility.tasks, utility.metric)[-2:] == [
        f"utility/piqa/{metric}",
        "utility/mean",
    ]
    boolq, plain = found["utility/boolq/acc"], rate(3, 4, 0.95)
    assert (boolq.value, boolq.low, boolq.high, boolq.n) == (0.75, plain.low, plain.high, 4)
    assert "task version 2.0, 0-shot, first 4: 4 of 3270 from hub" in boolq.method


def test_no_tasks_no_columns() -> None:
    assert leading_names([], "acc") == []


def test_the_interval_of_a_mean_of_rates() -> None:
    found = mean_of_rates([(30, 100), (10, 40)], 0.95)
    one, other = rate(30, 100, 0.95), rate(10, 40, 0.95)
    below = math.hypot(0.3 - (one.low or 1), 0.25 - (other.low or 1)) / 2
    above = math.hypot((one.high or 0) - 0.3, (other.high or 0) - 0.25) / 2
    assert found.value == pytest.approx(0.275)
    assert (found.low, found.high) == pytest.approx((0.275 - below, 0.275 + above))
    error = math.sqrt(0.3 * 0.7 / 100 + 0.25 * 0.75 / 40) / 2
    assert below + above == pytest.approx(2 * 1.96 * error, rel=0.05), "far from 0 and 1: normal"


def test_a_mean_of_rates_near_one_is_held_as_often_as_it_says() -> None:
    """Every outcome of two tasks of 100 questions, 99 and 98 % of them right, by its chance.

    A normal interval from their variances holds the mean in 80 % of cases.
    """
    shares, n = (0.99, 0.98), 100
    chances = [stats.binom.pmf(range(n + 1), n, share) for share in shares]
    held = 0.0
    for first in range(85, n + 1):
        for second in range(85, n + 1):
            found = mean_of_rates([(first, n), (second, n)], 0.95)
            assert found.low is not None
            assert found.high is not None
            if found.low <= sum(shares) / 2 <= found.high:
                held += chances[0][first] * chances[1][second]
    assert 0.92 < held < 0.96


@pytest.mark.parametrize("counts", [[], [(1, 2), (0, 0)]])
def test_an_empty_sample_is_a_gap(counts: list[tuple[int, int]]) -> None:
    assert mean_of_rates(counts, 0.95).value is None


def test_where_nothing_varies_the_interval_is_not_nothing() -> None:
    found = mean_of_rates([(4, 4), (0, 3)], 0.95)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.3 < found.value == 0.5 < 0.7 < found.high
