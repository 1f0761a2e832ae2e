"""What seeds, arms and draws lack is a gap of the claim, and said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from ssah_exp.evaluation.intervals import rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims
from tests.records.synthetic import JUDGE, arm, metrics, record
from tests.reporting.claimed import METRIC, SCU_ABOVE, claims_of, only, seeds_of


def test_a_control_with_an_unscored_draw_is_not_the_mean_of_the_others(tmp_path: Path) -> None:
    records: list[RunRecord] = []
    for seed, value in enumerate([0.6, 0.7, 0.8]):
        draws = [arm("SCU/pooled/random/0", 0.1), arm("SCU/pooled/random/1", 0.3)]
        records.append(record(seed, arms=[arm("SCU/pooled", value), *draws]))
    gap = {**metrics(0.3), METRIC: rate(0, 0, 0.95)}
    records[2].arms[2] = arm("SCU/pooled/random/1", 0.3, metrics=gap)
    test = {**SCU_ABOVE, "against": "random like SCU/pooled"}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    (finding,) = only(settle(claims, records)).findings
    assert finding.by_seed == pytest.approx({0: 0.4, 1: 0.5})
    expected = stats.ttest_1samp([0.4, 0.5], 0, alternative="greater")
    assert finding.p == pytest.approx(expected.pvalue)
    alone = only(settle(claims, records[2:]))
    assert (alone.verdict, alone.p) == ("not testable", None)


def test_seeds_that_are_all_alike_are_tested_over_prompts_if_outcomes_are_kept(
    tmp_path: Path,
) -> None:
    claims = claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "shows": "same"}]})
    found = only(settle(claims, seeds_of([0.1, 0.1, 0.1])))
    assert found.findings[0].p is None  # no outcomes, and t has no spread to stand on
    assert found.verdict == "undecided at this n"


def test_a_run_that_cannot_be_paired_was_run(tmp_path: Path) -> None:
    """One seed, one window of text: nothing to test by, but a difference there is."""
    test = {**SCU_ABOVE, "metric": "perplexity"}
    arms = [
        arm(name, 0.1, metrics=metrics(0.1, loss), outcomes=Outcomes(losses=[loss]))
        for name, loss in (("aligned", 2.0), ("SCU/pooled", 2.5))
    ]
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    found = only(settle(claims, [record(0, arms=arms)]))
    assert found.verdict == "undecided at this n"
    assert found.findings[0].difference.value == pytest.approx(0.5)
    assert found.findings[0].how == "over prompts: fewer than two windows"


def test_a_seed_with_a_gap_takes_nothing_from_the_prompts_of_another(tmp_path: Path) -> None:
    def judged(name: str, marks: str) -> Any:
        complied, scored = marks.count("c"), len(marks) - marks.count("?")
        outcomes = Outcomes(verdicts={f"harmful/raw/{JUDGE}": marks})
        given = {**metrics(0.1), METRIC: rate(complied, scored, 0.95)}
        return arm(name, 0.1, metrics=given, outcomes=outcomes)

    claims = claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]})
    dense, pruned = "c" * 10 + "r" * 90, "c" * 60 + "r" * 40
    first = record(0, arms=[judged("aligned", dense), judged("SCU/pooled", pruned)])
    silent = record(1, arms=[judged("aligned", "?" * 100), judged("SCU/pooled", "?" * 100)])
    alone, beside = (only(settle(claims, runs)) for runs in ([first], [first, silent]))
    assert alone.verdict == beside.verdict == "supported"
    assert alone.p == beside.p
    assert beside.findings[0].by_seed.keys() == {0}


@pytest.mark.parametrize("asked", [0, 1])
def test_a_judge_that_was_asked_later_of_one_seed_is_tested_over_prompts(
    tmp_path: Path, asked: int
) -> None:
    """Whichever seed comes first."""

    def judged(name: str, marks: str) -> Any:
        rates = {**metrics(0.1), "asr/raw/later": rate(marks.count("c"), 100, 0.95)}
        outcomes = Outcomes(verdicts={"harmful/raw/later": marks})
        return arm(name, 0.1, metrics=rates, outcomes=outcomes)

    test = {**SCU_ABOVE, "metric": "asr/raw/later"}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    arms = [judged("aligned", "c" * 10 + "r" * 90), judged("SCU/pooled", "c" * 60 + "r" * 40)]
    runs = [record(0), record(1)]
    runs[asked] = record(asked, arms=arms, judges={JUDGE: {}, "later": {}})
    found = only(settle(claims, runs))
    assert found.verdict == "supported"
    assert found.findings[0].by_seed.keys() == {asked}


def test_seeds_that_differ_by_rounding_alone_settle_nothing(tmp_path: Path) -> None:
    records = seeds_of([0.3, 0.4, 0.5], aligned=[0.1, 0.2, 0.3])
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]}), records))
    assert found.p is None
    assert found.verdict == "undecided at this n"


def test_a_seed_that_overflowed_is_not_left_out(tmp_path: Path) -> None:
    test = {"shows": "lower", "arm": "SCU/pooled", "against": "aligned", "metric": "perplexity"}
    records = seeds_of([0.1] * 3, losses=[1.0, 1.1, 800.0])
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    found = only(settle(claims, records))
    assert (found.p, found.verdict) == (None, "undecided at this n")
    assert found.findings[0].how == "none: a value is not finite"
    assert "inf" in render_claims(claims, [found], "markdown")


@pytest.mark.parametrize("losses", [[1.0, 1.1, 800.0], [800.0]])
def test_a_seed_in_which_both_overflowed_is_not_left_out_either(
    losses: list[float], tmp_path: Path
) -> None:
    test = {"shows": "higher", "arm": "SCU/pooled", "against": "aligned", "metric": "perplexity"}
    runs = [
        record(
            seed,
            arms=[
                arm(name, 0.1, metrics=metrics(0.1, loss + more * (loss < 700)))
                for name, more in (("aligned", 0.0), ("SCU/pooled", 0.5 + 0.01 * seed))
            ],
        )
        for seed, loss in enumerate(losses)
    ]
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    found = only(settle(claims, runs))
    assert (found.p, found.verdict) == (None, "undecided at this n")
    assert found.findings[0].how == "none: a value is not finite"
    assert len(found.findings[0].by_seed) == len(losses)
    assert "inf/inf" in render_claims(claims, [found], "markdown")


def test_unscored_arms_are_gaps_not_zeros(tmp_path: Path) -> None:
    missing = {**metrics(0.5), METRIC: rate(0, 0, 0.95)}
    records = seeds_of([0.6, 0.7])
    gap = record(2, arms=[arm("aligned", 0.1), arm("SCU/pooled", 0.5, metrics=missing)])
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]}), [*records, gap]))
    assert list(found.findings[0].by_seed) == [0, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": "SCU/poled"}, "no arm 'SCU/poled'. Did you mean 'SCU/pooled'?"),
        ({"against": "alined"}, "no arm 'alined'. Did you mean 'aligned'?"),
        ({"metric": "asr/raw"}, "no asr/raw of SCU/pooled. Did you mean 'asr/raw/"),
    ],
)
def test_what_the_records_lack_is_said_and_stops_no_other_claim(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    claims = claims_of(
        tmp_path,
        {"claim": "a", "tests": [SCU_ABOVE, {**SCU_ABOVE, **change}]},
        {"claim": "b", "tests": [SCU_ABOVE]},
    )
    settled = settle(claims, seeds_of([0.5, 0.6, 0.7]))
    assert [item.verdict for item in settled] == ["not testable", "supported"]
    assert f"Claim 1: the records have {said}" in render_claims(claims, settled, "markdown")


def test_it_is_said_which_of_two_arms_lacks_the_metric(tmp_path: Path) -> None:
    def lacking(records: Sequence[RunRecord]) -> str:
        claims = claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]})
        found = only(settle(claims, records))
        assert found.verdict == "not testable"
        return found.findings[0].lacking

    unscored = {**metrics(0.1), METRIC: rate(0, 0, 0.95)}
    without = {name: item for name, item in unscored.items() if name != METRIC}
    said = f"the records have no {METRIC} of aligned."
    runs = [record(arms=[arm("aligned", 0.1, metrics=unscored), arm("SCU/pooled", 0.6)])]
    assert lacking(runs) == said
    runs = [record(arms=[arm("aligned", 0.1, metrics=without), arm("SCU/pooled", 0.6)])]
    assert lacking(runs).startswith(f"{said} Did you mean 'asr/mean/")
    apart = [
        record(0, arms=[arm("aligned", 0.1, metrics=unscored), arm("SCU/pooled", 0.6)]),
        record(1, arms=[arm("aligned", 0.1), arm("SCU/pooled", 0.6, metrics=unscored)]),
    ]
    assert lacking(apart) == f"no seed has {METRIC} of both arms."
