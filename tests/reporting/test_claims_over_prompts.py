"""Claims of one seed: the two-sided test of the same prompts, made one-sided."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.evaluation.intervals import rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.claims.settle import settle
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
