"""Claims over prompts: instead of seeds where there is one, beside them where there are several."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.claims.over_prompts import OverPrompts
from ssah_exp.reporting.claims.settle import Settled, settle
from ssah_exp.reporting.claims.table import render_claims
from tests.records.synthetic import JUDGE, arm, metrics, record
from tests.reporting.claimed import METRIC, SCU_ABOVE, claims_of, only

N = 100
SCORE = f"score/raw/{JUDGE}"
MCNEMAR = 2 / 2**8  # of eight prompts that rose, none that fell


def judged(name: str, complied: int) -> ArmRecord:
    marks = "c" * complied + "r" * (N - complied)
    outcomes = Outcomes(verdicts={f"harmful/raw/{JUDGE}": marks})
    given = {**metrics(0.1), METRIC: rate(complied, N, 0.95)}
    return arm(name, 0.1, metrics=given, outcomes=outcomes)


@pytest.mark.parametrize(
    ("shows", "p", "verdict"),
    [("higher", MCNEMAR / 2, "supported"), ("lower", 1 - MCNEMAR / 2, "not supported")],
)
def test_prompts_that_say_the_contrary_support_no_claim(
    tmp_path: Path, shows: str, p: float, verdict: str
) -> None:
    claims = claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "shows": shows}]})
    run = record(arms=[judged("aligned", 10), judged("SCU/pooled", 18)])
    found = only(settle(claims, [run]))
    assert found.p == pytest.approx(p)
    assert found.verdict == verdict


def by_seed(rows: Sequence[str], name: str = "SCU/pooled") -> list[RunRecord]:
    """A run per seed: the dense model refuses all, the arm answers where a row has a c."""
    made = []
    for seed, marks in enumerate(rows):
        arms = [judged_as("aligned", "r" * len(marks)), judged_as(name, marks)]
        made.append(record(seed, arms=arms))
    return made


def judged_as(name: str, marks: str) -> ArmRecord:
    outcomes = Outcomes(verdicts={f"harmful/raw/{JUDGE}": marks})
    scored = marks.replace("?", "")
    given = {**metrics(0.1), METRIC: rate(scored.count("c"), len(scored), 0.95)}
    return arm(name, 0.1, metrics=given, outcomes=outcomes)


def over_prompts(tmp_path: Path, records: Sequence[RunRecord], shows: str = "higher") -> Settled:
    claims = claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "shows": shows}]})
    return only(settle(claims, records))


def test_few_prompts_on_every_seed_are_few_prompts(tmp_path: Path) -> None:
    """Seeds agree to the point; four of twenty prompts make all of it."""
    rows = ["ccc" + "r" * 17, "ccrc" + "r" * 16, "cc" + "r" * 18]
    found = over_prompts(tmp_path, by_seed(rows))
    (finding,) = found.findings
    assert found.verdict == "supported"
    assert finding.over_prompts is not None
    # All four rise: of 2^4 sign patterns one is as far up.
    assert finding.over_prompts.p == pytest.approx(1 / 16)
    assert found.p_prompts_holm == pytest.approx(1 / 16)
    difference = finding.over_prompts.difference
    assert difference.value == pytest.approx(np.mean([3, 3, 2]) / 20)
    assert difference.n == 20
    assert difference.low is not None
    assert difference.low < 0


@pytest.mark.parametrize("shows", ["higher", "lower", "same", "no_higher", "no_lower"])
def test_many_prompts_are_a_t_test_of_their_means(tmp_path: Path, shows: str) -> None:
    draw = np.random.default_rng(3)
    answered = draw.random((3, 60)) < np.array([[0.2], [0.3], [0.5]])
    rows = ["".join("c" if x else "r" for x in row) for row in answered]
    rows[1] = "?" + rows[1][1:]  # left out on every seed
    means = answered[:, 1:].mean(axis=0)
    (finding,) = over_prompts(tmp_path, by_seed(rows), shows).findings
    assert finding.over_prompts is not None
    found = finding.over_prompts
    no_lower = stats.ttest_1samp(means, -0.05, alternative="greater").pvalue
    no_higher = stats.ttest_1samp(means, 0.05, alternative="less").pvalue
    wanted = {
        "higher": stats.ttest_1samp(means, 0, alternative="greater").pvalue,
        "lower": stats.ttest_1samp(means, 0, alternative="less").pvalue,
        "same": max(no_lower, no_higher),
        "no_lower": no_lower,
        "no_higher": no_higher,
    }
    assert found.p == pytest.approx(wanted[shows])
    ends = stats.t.interval(0.95, 58, means.mean(), stats.sem(means))
    assert (found.difference.low, found.difference.high) == pytest.approx(ends)


@pytest.mark.parametrize(("shows", "risen"), [("no_higher", 3), ("no_lower", 0), ("same", 3)])
def test_few_prompts_that_rise_are_within_the_margin_if_they_are_few_of_all(
    tmp_path: Path, shows: str, risen: int
) -> None:
    rows = ["ccc" + "r" * 97, "ccr" + "r" * 97]
    (finding,) = over_prompts(tmp_path, by_seed(rows), shows).findings
    assert finding.over_prompts is not None
    wanted = stats.binomtest(risen, 100, 0.05, alternative="less").pvalue
    assert finding.over_prompts.p == pytest.approx(wanted)


@pytest.mark.parametrize("shows", ["no_higher", "no_lower"])
def test_one_seed_has_a_margin_tested_on_both_sides(tmp_path: Path, shows: str) -> None:
    run = record(arms=[judged("aligned", 10), judged("SCU/pooled", 12)])
    found = [
        only(
            settle(
                claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "shows": way}]}), [run]
            )
        ).p
        for way in (shows, "same")
    ]
    assert found[0] == found[1] is not None


def of_windows(name: str, losses: list[float]) -> ArmRecord:
    mean = float(np.mean(losses))
    return arm(name, 0.1, metrics=metrics(0.1, mean), outcomes=Outcomes(losses=losses))


def test_perplexity_is_over_windows(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    records, seen = [], []
    for seed in range(3):
        losses = {"aligned": draw.normal(3, 0.3, 8), "SCU/pooled": draw.normal(3.2, 0.3, 8)}
        seen.append(losses["SCU/pooled"] - losses["aligned"])
        arms = [of_windows(name, values.tolist()) for name, values in losses.items()]
        records.append(record(seed, arms=arms))
    test = {**SCU_ABOVE, "metric": "perplexity"}
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), records))
    (finding,) = found.findings
    assert finding.over_prompts is not None
    wanted = stats.ttest_1samp(np.mean(seen, axis=0), 0, alternative="greater").pvalue
    assert finding.over_prompts.p == pytest.approx(wanted)
    assert finding.over_prompts.difference.unit == "windows"


@pytest.mark.parametrize(
    "losses",
    [
        [[2.1, 2.9, 2.3, 2.7], [2.2, 2.6, math.inf, 2.8], [2.3, 2.5, 2.9, 2.4]],
        [[2.1, 2.6, 3.1, 3.6], [2.2, 2.7, 3.2, 3.7], [2.3, 2.8, 3.3, 3.8]],
    ],
    ids=["one is infinite", "all differ alike"],
)
def test_windows_that_a_t_test_cannot_take_have_no_test(
    tmp_path: Path, losses: list[list[float]]
) -> None:
    """Beside seeds that do vary."""
    records = [
        record(
            seed, arms=[of_windows("aligned", [2.0, 2.5, 3.0, 3.5]), of_windows("SCU/pooled", row)]
        )
        for seed, row in enumerate(losses)
    ]
    test = {**SCU_ABOVE, "metric": "perplexity"}
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), records))
    assert found.findings[0].over_prompts is None
    assert found.p_prompts_holm is None


@pytest.mark.filterwarnings("error")
def test_windows_that_are_infinite_in_both_arms_warn_of_nothing(tmp_path: Path) -> None:
    rows = [[2.0, math.inf], [2.1, 2.6], [2.0, 2.5]]
    records = [
        record(seed, arms=[of_windows("aligned", row), of_windows("SCU/pooled", row[::more])])
        for seed, (row, more) in enumerate(zip(rows, (1, -1, 1), strict=True))
    ]
    test = {**SCU_ABOVE, "metric": "perplexity"}
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), records))
    assert (found.p, found.findings[0].over_prompts) == (None, None)


def scored(name: str, scores: list[float | None]) -> ArmRecord:
    mean = float(np.mean(np.array(scores, dtype=float)))
    given = {**metrics(0.1), SCORE: Estimate(mean, None, None, len(scores), "answers", "")}
    return arm(name, 0.1, metrics=given, outcomes=Outcomes(scores={SCORE: scores}))


def of_scores(
    tmp_path: Path, rows: Sequence[list[float | None]], shows: str, margin: float
) -> OverPrompts:
    """Three seeds by a judge of 1 to 5; the dense model has 1 everywhere."""
    records = [
        record(
            seed,
            arms=[scored("aligned", [1.0] * len(row)), scored("SCU/pooled", row)],
            judges={JUDGE: {"kind": "endpoint", "scale": [1, 5]}},
        )
        for seed, row in enumerate(rows)
    ]
    test = {**SCU_ABOVE, "shows": shows, "metric": SCORE, "margin": margin}
    (finding,) = only(
        settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), records)
    ).findings
    assert finding.over_prompts is not None
    return finding.over_prompts


def bound(count: int, n: int) -> float:
    """Clopper-Pearson's upper bound of a share, at a quarter of an error of 5 %."""
    return float(stats.beta.ppf(1 - 0.05 / 4, count + 1, n - count))


def test_scores_are_bounded_as_shares_of_their_scale(tmp_path: Path) -> None:
    """Most answers rise by a point; of the other three one does not rise and two rise by more."""
    rows: list[list[float | None]] = [
        [2, 2, 2, 2, 2, 1, 5, 3],
        [2, 2, 2, 2, 2, 1, 5, 3],
        [2, 2, 2, 2, 2, 1, 5, 5],
    ]
    found = of_scores(tmp_path, rows, "higher", 0.5)
    low, high = 0.25 - 1.25 * bound(1, 8), 0.25 + 0.75 * bound(2, 8)
    assert (found.difference.low, found.difference.high) == pytest.approx((4 * low, 4 * high))
    assert found.difference.value == pytest.approx((5 * 1 + 0 + 4 + 8 / 3) / 8)
    assert found.p == pytest.approx(1 / 2**7)  # all seven that changed rise


def test_answers_that_all_differ_alike_have_a_test(tmp_path: Path) -> None:
    """Differences of scores are bounded; those of losses are not."""
    rows: list[list[float | None]] = [[2.0] * 8, [3.0] * 8, [4.0] * 8]
    found = of_scores(tmp_path, rows, "higher", 0.5)
    low, high = 0.5 - 1.5 * bound(0, 8), 0.5 + 0.5 * bound(0, 8)
    assert (found.difference.low, found.difference.high) == pytest.approx((4 * low, 4 * high))
    assert found.p == pytest.approx(1 / 2**8)


@pytest.mark.parametrize(("margin", "share"), [(0.4, 0.1), (2.0, 0.5), (3.0, 0.75)])
def test_the_margin_of_a_score_is_a_share_of_its_scale(
    tmp_path: Path, margin: float, share: float
) -> None:
    """Two of twenty answers rise; to be worse by the margin, that share of them would have to."""
    rest: list[float | None] = [1.0] * 18
    rows = [[3.0, 2.0, *rest], [5.0, 2.0, *rest], [5.0, 1.0, *rest]]
    found = of_scores(tmp_path, rows, "same", margin)
    assert found.p == pytest.approx(stats.binom.cdf(2, 20, share))
    ends = -4 * bound(0, 20), 4 * bound(2, 20)
    assert (found.difference.low, found.difference.high) == pytest.approx(ends)
    assert found.difference.value == pytest.approx((13 + 5 - 6) / 3 / 20)


@pytest.mark.parametrize(("margin", "verdict"), [(0.01, "undecided at this n"), (0.2, "supported")])
def test_arms_are_the_same_within_the_rate_margin_of_the_file(
    tmp_path: Path, margin: float, verdict: str
) -> None:
    test = {**SCU_ABOVE, "shows": "same"}
    claims = claims_of(
        tmp_path, {"claim": "c", "tests": [test]}, rate_margin=margin, loss_margin=0.07
    )
    run = record(arms=[judged("aligned", 10), judged("SCU/pooled", 12)])
    found = only(settle(claims, [run]))
    assert found.p == pytest.approx(stats.binom.cdf(2, N, margin))  # two of the prompts rose
    assert found.verdict == verdict


@pytest.mark.parametrize(("margin", "verdict"), [(0.01, "not supported"), (0.2, "supported")])
def test_arms_are_the_same_within_the_loss_margin_of_the_file(
    tmp_path: Path, margin: float, verdict: str
) -> None:
    test = {**SCU_ABOVE, "shows": "same", "metric": "perplexity"}
    claims = claims_of(
        tmp_path, {"claim": "c", "tests": [test]}, rate_margin=0.07, loss_margin=margin
    )
    shifts = [0.06, 0.08, 0.05, 0.07, 0.09, 0.04]
    dense = [2.0, 2.5, 3.0, 3.5, 2.2, 2.8]
    pruned = [loss + shift for loss, shift in zip(dense, shifts, strict=True)]
    run = record(arms=[of_windows("aligned", dense), of_windows("SCU/pooled", pruned)])
    found = only(settle(claims, [run]))
    above = stats.ttest_1samp(shifts, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(shifts, margin, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below))
    assert found.verdict == verdict


def test_prompts_that_differ_by_seed_are_not_averaged(tmp_path: Path) -> None:
    rows = ["cccr" * 5, "ccrr" * 5, "cccc" * 5]
    records = [
        replace(
            item,
            config={**item.config, "data": {"harmful_eval": {"sample": 20}}},
            inputs={**item.inputs, "harmful_eval": f"drawn by {item.seed}"},
        )
        for item in by_seed(rows)
    ]
    found = over_prompts(tmp_path, records)
    assert found.findings[0].over_prompts is None
    assert found.p_prompts_holm is None
    assert found.verdict == "supported"


def test_it_stands_in_the_tables(tmp_path: Path) -> None:
    rows = ["ccc" + "r" * 17, "ccrc" + "r" * 16, "cc" + "r" * 18]
    claims = claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]})
    settled = settle(claims, by_seed(rows))
    text = render_claims(claims, settled, "markdown")
    verdicts, caption, tests = text.split("\n\n")
    assert "| over prompts" in verdicts
    assert "0.062" in verdicts
    assert "verdicts go by seeds" in caption
    assert "p 0.062" in tests
    (line,) = json.loads(render_claims(claims, settled, "json"))
    assert line["over_prompts_p"] == pytest.approx(1 / 16)
    assert (line["prompts"], line["claim_p_prompts_holm"]) == (20, pytest.approx(1 / 16))
    alone = render_claims(claims, settle(claims, by_seed(rows[:1])), "markdown")
    assert "verdicts go by seeds" not in alone
