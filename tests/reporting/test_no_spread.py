"""Means of answers that are alike or nearly: intervals with width, by hand and in a table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import Resampling, mean_of_rates, mean_score, rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from tests.records.synthetic import trained_arm, training_record

ENDS = (1.0, 5.0)


def test_330_refusals_may_hide_a_few_answers_that_do_harm() -> None:
    found = mean_score([1.0] * 330, Resampling(0.95, 2000), ENDS)
    missed = 1 - 0.025 ** (1 / 330)  # the share that goes unseen in 330 answers at 2.5 %
    assert (found.value, found.low, found.n) == (1, 1, 330)
    assert found.high == pytest.approx(1 + 4 * missed)
    assert found.method.startswith("Clopper-Pearson 95%")


@pytest.mark.parametrize("score", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("n", [1, 4, 100])
def test_the_interval_reaches_from_the_score_towards_both_ends(score: float, n: int) -> None:
    found = mean_score([score] * n, Resampling(0.9, 2000), ENDS)
    missed = stats.beta.ppf(0.95, 1, n)
    assert found.low == pytest.approx(score - missed * (score - 1))
    assert found.high == pytest.approx(score + missed * (5 - score))


def test_scores_of_which_many_differ_have_the_interval_they_always_had() -> None:
    scores = [1.0] * 20 + [5.0, 4.0] * 5
    found = mean_score(scores, Resampling(0.95, 200), ENDS)
    assert found == mean_score(scores, Resampling(0.95, 200))
    assert found.method.startswith("percentile bootstrap")


@pytest.mark.parametrize("worse", range(1, 10))
def test_an_answer_that_is_worse_makes_no_interval_narrower(worse: int) -> None:
    """A bootstrap of 99 ones and a two says that the mean is 1.03 at most."""
    fewer, more = (
        mean_score([1.0] * (100 - k) + [2.0] * k, Resampling(0.95, 200), ENDS)
        for k in (worse - 1, worse)
    )
    assert more.low == fewer.low == 1
    assert more.high == pytest.approx(1 + 4 * stats.beta.ppf(0.975, worse + 1, 100 - worse))
    assert more.high > float(fewer.high or 0)
    assert more.method == fewer.method


def test_few_scores_on_either_side_of_the_commonest_by_hand() -> None:
    found = mean_score([3.0] * 46 + [1.0] * 3 + [5.0], Resampling(0.9, 200), ENDS)
    assert found.value == pytest.approx(2.92)
    assert found.low == pytest.approx(3 - 2 * stats.beta.ppf(0.95, 4, 47))
    assert found.high == pytest.approx(3 + 2 * stats.beta.ppf(0.95, 2, 49))


@pytest.mark.parametrize(
    ("n", "shares"),
    [
        (100, {1: 0.94, 2: 0.05, 5: 0.01}),
        (100, {1: 0.98, 5: 0.02}),
        (20, {1: 0.9, 5: 0.1}),
        (100, {1: 0.9, 5: 0.1}),
    ],
)
def test_simulated_intervals_hold_the_mean_at_least_about_as_often_as_they_say(
    n: int, shares: dict[int, float]
) -> None:
    """The bootstrap alone held it in 85 to 87 % of the first three cases, 94 of the last."""
    draw = np.random.default_rng(0)
    scores, chances = list(shares), list(shares.values())
    mean, held, times = float(np.dot(scores, chances)), 0, 400
    for _ in range(times):
        found = mean_score(draw.choice(scores, n, p=chances), Resampling(0.95, 300), ENDS)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= mean <= found.high
    assert held >= 0.94 * times


def test_it_holds_the_mean_at_least_as_often_as_it_says() -> None:
    """Answers are 1 but for a share q of 5: the worst case there is for the upper end."""
    for share in np.linspace(0.001, 0.2, 40):
        for n in (20, 100):
            alike = float((1 - share) ** n)  # all n are seen to be 1
            high = mean_score([1.0] * n, Resampling(0.95, 2000), ENDS).high
            assert high is not None
            assert alike <= 0.025 + 1e-12 or high >= 1 + 4 * share


def test_one_task_all_wrong_has_wilsons_interval() -> None:
    found, alone = mean_of_rates([(0, 20)], 0.95), rate(0, 20, 0.95)
    assert (found.value, found.low, found.n) == (0, 0, 20)
    assert found.high == pytest.approx(alone.high)
    assert found.method.startswith("Wilson 95% of 1")


def test_tasks_all_right_or_all_wrong_by_hand() -> None:
    found = mean_of_rates([(4, 4), (0, 3), (0, 5)], 0.95)
    z = 1.959963984540054**2
    away = {n: z / (n + z) for n in (3, 4, 5)}  # Wilson's other end, seen from 0 or 1
    assert found.value == pytest.approx(1 / 3)
    assert found.low == pytest.approx(1 / 3 - away[4] / 3)
    assert found.high == pytest.approx(1 / 3 + math.hypot(away[3], away[5]) / 3)


@pytest.mark.parametrize("counts", [[(0, 1)] * 6, [(1, 1)] * 6, [(1, 1), (0, 1)]])
def test_the_mean_of_tasks_stays_within_0_and_1(counts: list[tuple[int, int]]) -> None:
    found = mean_of_rates(counts, 0.99)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= float(found.value or 0) <= found.high <= 1
    assert found.low < found.high


def with_scores(scores: list[float]) -> RunRecord:
    full = trained_arm("full", 0.4)
    name = "score/chat/llm"
    metrics = {**full.metrics, name: mean_score(scores, Resampling(0.95, 200), ENDS)}
    made = training_record(arms=[replace(full, metrics=metrics)])
    asked = {**made.config["evaluation"], "primary_judge": "llm", "harmful_styles": ["chat"]}
    return replace(made, config={**made.config, "evaluation": asked})


def test_the_table_shows_it() -> None:
    assert "1.0 [1.0, 1.2]" in render_artefact([with_scores([1.0] * 60)], "markdown")
