"""Claims over prompts: instead of seeds where there is one, beside them where there are several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.claims.settle import Settled, settle
from ssah_exp.reporting.claims.table import render_claims
from tests.records.synthetic import JUDGE, arm, metrics, record
from tests.reporting.test_claims import METRIC, SCU_ABOVE, claims_of, only

N = 100
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


@pytest.mark.parametrize("shows", ["higher", "lower", "same"])
def test_many_prompts_are_a_t_test_of_their_means(tmp_path: Path, shows: str) -> None:
    draw = np.random.default_rng(3)
    answered = draw.random((3, 60)) < np.array([[0.2], [0.3], [0.5]])
    rows = ["".join("c" if x else "r" for x in row) for row in answered]
    rows[1] = "?" + rows[1][1:]  # left out on every seed
    means = answered[:, 1:].mean(axis=0)
    (finding,) = over_prompts(tmp_path, by_seed(rows), shows).findings
    assert finding.over_prompts is not None
    found = finding.over_prompts
    side = {"higher": "greater", "lower": "less"}.get(shows)
    wanted = (
        max(
            stats.ttest_1samp(means, -0.05, alternative="greater").pvalue,
            stats.ttest_1samp(means, 0.05, alternative="less").pvalue,
        )
        if side is None
        else stats.ttest_1samp(means, 0, alternative=side).pvalue
    )
    assert found.p == pytest.approx(wanted)
    ends = stats.t.interval(0.95, 58, means.mean(), stats.sem(means))
    assert (found.difference.low, found.difference.high) == pytest.approx(ends)


def test_perplexity_is_over_windows(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    records, seen = [], []
    for seed in range(3):
        losses = {"aligned": draw.normal(3, 0.3, 8), "SCU/pooled": draw.normal(3.2, 0.3, 8)}
        seen.append(losses["SCU/pooled"] - losses["aligned"])
        arms = [
            arm(
                name,
                0.1,
                metrics=metrics(0.1, float(values.mean())),
                outcomes=Outcomes(losses=values.tolist()),
            )
            for name, values in losses.items()
        ]
        records.append(record(seed, arms=arms))
    test = {**SCU_ABOVE, "metric": "perplexity"}
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), records))
    (finding,) = found.findings
    assert finding.over_prompts is not None
    wanted = stats.ttest_1samp(np.mean(seen, axis=0), 0, alternative="greater").pvalue
    assert finding.over_prompts.p == pytest.approx(wanted)
    assert finding.over_prompts.difference.unit == "windows"


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
