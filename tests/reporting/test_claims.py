"""Claims held against records: tests over seeds, one p per claim, Holm, verdicts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims
from tests.records.synthetic import JUDGE, record
from tests.reporting.claimed import METRIC, SCU_ABOVE, claims_of, only, seeds_of


def test_the_test_is_a_one_sided_t_test_over_seeds(tmp_path: Path) -> None:
    values = [0.6, 0.7, 0.5, 0.9, 0.65]
    found = only(
        settle(claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]}), seeds_of(values))
    )
    differences = np.array(values) - 0.1
    expected = stats.ttest_rel(values, [0.1] * 5, alternative="greater")
    (finding,) = found.findings
    assert finding.p == pytest.approx(expected.pvalue)
    assert finding.difference.value == pytest.approx(differences.mean())
    low, high = stats.t.interval(0.95, 4, differences.mean(), stats.sem(differences))
    assert (finding.difference.low, finding.difference.high) == pytest.approx((low, high))
    assert finding.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert finding.by_seed == pytest.approx(dict(enumerate(differences)))
    assert found.verdict == "supported"


@pytest.mark.parametrize(
    ("scu", "shows", "verdict"),
    [
        ([0.6, 0.7, 0.5, 0.9], "higher", "supported"),
        ([0.6, 0.7, 0.5, 0.9], "lower", "not supported"),
        ([0.6, 0.7, 0.5, 0.9], "same", "not supported"),
        ([0.1, 0.9, 0.0, 0.2], "higher", "undecided at this n"),
        ([0.10, 0.11, 0.09, 0.10], "higher", "not supported"),  # no room for five points
        ([0.10, 0.11, 0.09, 0.10], "same", "supported"),
        ([0.1, 0.9, 0.0, 0.2], "same", "undecided at this n"),
        ([0.6, 0.7, 0.5, 0.9], "no_higher", "not supported"),
        ([0.6, 0.7, 0.5, 0.9], "no_lower", "supported"),
        ([0.10, 0.11, 0.09, 0.10], "no_higher", "supported"),
        ([0.10, 0.11, 0.09, 0.10], "no_lower", "supported"),
        ([0.1, 0.9, 0.0, 0.2], "no_higher", "undecided at this n"),
        ([0.6], "higher", "undecided at this n"),
    ],
)
def test_verdicts(tmp_path: Path, scu: list[float], shows: str, verdict: str) -> None:
    claims = claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "shows": shows}]})
    assert only(settle(claims, seeds_of(scu))).verdict == verdict


def test_equivalence_is_two_one_sided_tests_against_the_margin(tmp_path: Path) -> None:
    test = {**SCU_ABOVE, "shows": "same", "margin": 0.2}
    values = [0.12, 0.2, 0.1, 0.16]
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), seeds_of(values)))
    differences = np.array(values) - 0.1
    above = stats.ttest_1samp(differences, -0.2, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, 0.2, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below))


def test_an_arm_below_by_any_amount_is_no_higher(tmp_path: Path) -> None:
    """As where a frozen arm may train until it is at another's loss, or below."""
    values = [0.02, 0.05, 0.01, 0.04]
    differences = np.array(values) - 0.1
    for shows, end, verdict in (
        ("no_higher", -differences, "supported"),
        ("no_lower", differences, "not supported"),
        ("same", differences, "not supported"),
    ):
        test = {**SCU_ABOVE, "shows": shows, "margin": 0.02}
        claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
        found = only(settle(claims, seeds_of(values)))
        wanted = stats.ttest_1samp(end, -0.02, alternative="greater").pvalue
        assert found.p == pytest.approx(wanted)
        assert found.verdict == verdict
        shown = render_claims(claims, [found], "markdown")
        assert shows.replace("_", " ") in shown
        assert ("no higher, no lower: a one-sided t test" in shown) == (shows != "same")
        assert "training loss" not in shown


def test_a_claim_is_as_weak_as_its_weakest_test(tmp_path: Path) -> None:
    weak = {**SCU_ABOVE, "shows": "lower", "metric": "perplexity"}
    records = seeds_of([0.6, 0.7, 0.5], losses=[1.9, 2.2, 1.8])
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE, weak]}), records))
    strong, other = (finding.p for finding in found.findings)
    assert strong is not None
    assert other is not None
    assert strong < other == found.p
    assert found.verdict == "undecided at this n"


def test_holm_is_over_all_claims_of_the_file(tmp_path: Path) -> None:
    names = [METRIC, f"asr/raw_system/{JUDGE}", f"benign_refusal/chat/{JUDGE}"]
    claims = claims_of(
        tmp_path,
        *({"claim": name, "tests": [{**SCU_ABOVE, "metric": name}]} for name in names),
        {"claim": "not run", "artefact": "probe", "tests": [SCU_ABOVE]},
    )
    records = seeds_of([0.4, 0.7, 0.2, 0.5])
    *there, missing = settle(claims, records)
    raw = [item.p for item in there]
    expected = multipletests([*raw, 1.0], method="holm")[1][:3]
    assert [item.p_holm for item in there] == pytest.approx(list(expected))
    assert (missing.verdict, missing.p_holm) == ("not run", None)


def test_perplexity_is_compared_as_a_logarithm(tmp_path: Path) -> None:
    test = {"shows": "higher", "arm": "SCU/pooled", "against": "aligned", "metric": "perplexity"}
    records = seeds_of([0.1] * 3, losses=[2.5, 2.6, 2.4])
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    found = only(settle(claims, records))
    assert found.findings[0].difference.value == pytest.approx(0.5)
    assert "1.65x" in render_claims(claims, [found], "markdown")


def test_control_draws_are_averaged_within_a_seed(tmp_path: Path) -> None:
    test = {**SCU_ABOVE, "against": "random like SCU/pooled"}
    found = only(
        settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), [record(0), record(1)])
    )
    assert list(found.findings[0].by_seed.values()) == pytest.approx([0.4, 0.4])


def test_an_arm_of_records_that_stands_against_nothing_stands_against_zero(tmp_path: Path) -> None:
    values = [0.6, 0.7, 0.5]
    claims = claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "against": None}]})
    found = only(settle(claims, seeds_of(values)))
    (finding,) = found.findings
    assert finding.by_seed == pytest.approx(dict(enumerate(values)))
    assert finding.difference.value == pytest.approx(0.6)
    # Mean 0.6 and standard deviation 0.1 of three; a t of 2 degrees of freedom in closed form.
    t = 0.6 / (0.1 / math.sqrt(3))
    assert finding.p == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t**2)))
    assert found.verdict == "supported"
