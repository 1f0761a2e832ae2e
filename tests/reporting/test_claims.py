"""Claims held against records: tests over seeds, one p per claim, Holm, verdicts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ssah_exp.cli import main
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.claims.claim_file import ClaimFile, read_claims
from ssah_exp.reporting.claims.settle import Settled, settle
from ssah_exp.reporting.claims.table import render_claims
from tests.records.synthetic import JUDGE, arm, metrics, record

METRIC = f"asr/raw/{JUDGE}"
SCU_ABOVE = {"shows": "higher", "arm": "SCU/pooled", "against": "aligned", "metric": METRIC}


def claims_of(folder: Path, *claims: dict[str, Any], **more: Any) -> ClaimFile:
    given = [{"artefact": "table1_pruning", "source": "Table 1", **claim} for claim in claims]
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": given, **more}), encoding="utf-8")
    return read_claims(path)


def seeds_of(
    scu: Sequence[float], aligned: Sequence[float] = (0.1,) * 9, losses: Sequence[float] = ()
) -> list[RunRecord]:
    made: list[RunRecord] = []
    for seed, value in enumerate(scu):
        loss = losses[seed] if losses else 2.0
        pruned = arm("SCU/pooled", value, metrics=metrics(value, loss))
        made.append(record(seed, arms=[arm("aligned", aligned[seed]), pruned]))
    return made


def only(settled: list[Settled]) -> Settled:
    (found,) = settled
    return found


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


def test_margins_of_training_losses_are_said_to_be_theirs(tmp_path: Path) -> None:
    test = {**SCU_ABOVE, "shows": "no_higher", "metric": "train_loss"}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    shown = render_claims(claims, settle(claims, seeds_of([0.1])), "markdown")
    assert "(0.05 nats of perplexity and training loss; other margins" in shown


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


def test_where_chooses_the_runs(tmp_path: Path) -> None:
    def named(made: RunRecord, name: str) -> RunRecord:
        data = {**made.config["data"], "name": name}
        return replace(made, run_id=made.run_id + name, config={**made.config, "data": data})

    records = [
        *(named(item, "one") for item in seeds_of([0.6, 0.7, 0.8])),
        *(named(item, "two") for item in seeds_of([0.1, 0.2, 0.0])),
    ]
    claim = {"claim": "c", "tests": [SCU_ABOVE], "where": {"data.name": "two"}}
    found = only(settle(claims_of(tmp_path, claim), records))
    assert found.findings[0].difference.value == pytest.approx(0.0)
    either = {**claim, "where": {"data.name": ["one", "three"]}}
    found = only(settle(claims_of(tmp_path, either), records))
    assert found.findings[0].difference.value == pytest.approx(0.6)


def test_where_reaches_into_lists_by_number(tmp_path: Path) -> None:
    def of_rows(made: RunRecord, rows: int) -> RunRecord:
        data = {**made.config["data"], "finetune": [{"sample": rows}]}
        config = {**made.config, "data": data}
        return replace(made, run_id=f"{made.run_id}{rows}", config=config)

    records = [
        *(of_rows(item, 64) for item in seeds_of([0.6, 0.7, 0.8])),
        *(of_rows(item, 128) for item in seeds_of([0.1, 0.2, 0.0])),
    ]
    claim = {"claim": "c", "tests": [SCU_ABOVE], "where": {"data.finetune.0.sample": 64}}
    found = only(settle(claims_of(tmp_path, claim), records))
    assert found.findings[0].difference.value == pytest.approx(0.6)
    other = {**claim, "where": {"data.finetune.1.sample": 64}}
    assert only(settle(claims_of(tmp_path, other), records)).verdict == "not run"


def test_a_claim_that_several_settings_fit_is_not_settled_and_others_are(tmp_path: Path) -> None:
    def with_samples(made: RunRecord, samples: int) -> RunRecord:
        units = {**made.config.get("units", {}), "samples": samples}
        config = {**made.config, "units": units}
        return replace(made, run_id=f"{made.run_id}{samples}", config=config)

    runs = seeds_of([0.6, 0.7, 0.8])
    records = [with_samples(item, samples) for samples in (16, 64) for item in runs]
    claims = claims_of(
        tmp_path,
        {"claim": "a", "tests": [SCU_ABOVE]},
        {"claim": "b", "tests": [SCU_ABOVE], "where": {"units.samples": 64}},
    )
    first, second = settled = settle(claims, records)
    assert (first.verdict, second.verdict) == ("not testable", "supported")
    assert first.p is None
    assert second.p is not None
    assert second.p_holm == 2 * second.p, "the family was fixed when the claims were written"
    text = render_claims(claims, settled, "markdown")
    assert "Claim 1: several settings of table1_pruning fit, which differ in units.samples" in text
    lines = json.loads(render_claims(claims, settled, "json"))
    assert "differ in units.samples" in lines[0]["lacking"]
    assert lines[1]["lacking"] == ""


def test_a_claim_is_not_settled_by_runs_on_several_files(tmp_path: Path) -> None:
    runs = seeds_of([0.6, 0.7, 0.8])
    others = [
        replace(item, run_id=f"{item.run_id}b", inputs={**item.inputs, "model": "another"})
        for item in runs
    ]
    claims = claims_of(tmp_path, {"claim": "a", "tests": [SCU_ABOVE]})
    settled = settle(claims, [*runs, *others])
    assert settled[0].verdict == "not testable"
    assert "which differ in the files of model;" in render_claims(claims, settled, "markdown")


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


def test_the_margin_of_a_score_is_in_its_own_points(tmp_path: Path) -> None:
    metric = f"score/raw/{JUDGE}"
    scores: list[float | None] = [1.0, 2.0, 4.0, 3.0] * 10

    def scored(name: str, values: list[float | None]) -> Any:
        mean = float(np.mean(np.array(values, dtype=float)))
        estimate = Estimate(mean, None, None, len(values), "answers", "")
        outcomes = Outcomes(scores={metric: values})
        return arm(name, 0.1, metrics={**metrics(0.1), metric: estimate}, outcomes=outcomes)

    shifted: list[float | None] = [
        (item or 0.0) + 0.25 * (at % 2) for at, item in enumerate(scores)
    ]
    judges = {JUDGE: {"kind": "endpoint", "scale": [1, 5]}}
    made = record(arms=[scored("aligned", scores), scored("SCU/pooled", shifted)], judges=judges)
    verdicts = []
    for margin in (0.1, 0.5):
        test = {**SCU_ABOVE, "shows": "same", "metric": metric, "margin": margin}
        found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [test]}), [made]))
        verdicts.append(found.verdict)
    assert verdicts == ["undecided at this n", "supported"]


def test_margins_are_in_the_unit_of_what_is_compared(tmp_path: Path) -> None:
    """A training loss is in nats, and of a judge's score nobody else knows what matters."""

    def read(*metrics: str) -> ClaimFile:
        tests = [{**SCU_ABOVE, "metric": metric} for metric in metrics]
        margins = {"rate_margin": 0.1, "loss_margin": 0.01}
        return claims_of(tmp_path, {"claim": "c", "tests": tests}, **margins)

    claims = read("perplexity", "train_loss", METRIC)
    assert [claims.margin(test) for test in claims.claims[0].tests] == [0.01, 0.01, 0.1]
    for metric in ("score/chat/gpt4", "mt_bench/turn1", "epochs"):
        with pytest.raises(ConfigError, match=f"'{metric}' is neither a rate nor a loss"):
            read(metric)


def test_how_often_the_worst_score_was_given_is_a_rate(tmp_path: Path) -> None:
    metric = f"score5/raw/{JUDGE}"
    made = []
    for seed, worst in enumerate([60, 62, 64]):
        pruned, dense = (
            {**metrics(0.1), metric: rate(count, 100, 0.95)} for count in (worst, 10 + seed)
        )
        arms = [arm("aligned", 0.1, metrics=dense), arm("SCU/pooled", 0.1, metrics=pruned)]
        made.append(record(seed, arms=arms))
    test = {**SCU_ABOVE, "metric": metric}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [test]})
    assert "| +51 [+49, +53]" in render_claims(claims, settle(claims, made), "markdown")
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        claims_of(tmp_path, {"claim": "c", "tests": [{**test, "margin": 5}]})


def test_unscored_arms_are_gaps_not_zeros(tmp_path: Path) -> None:
    missing = {**metrics(0.5), METRIC: rate(0, 0, 0.95)}
    records = seeds_of([0.6, 0.7])
    gap = record(2, arms=[arm("aligned", 0.1), arm("SCU/pooled", 0.5, metrics=missing)])
    found = only(settle(claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]}), [*records, gap]))
    assert list(found.findings[0].by_seed) == [0, 1]


def test_machines_read_margins_files_and_what_was_left_unscored(tmp_path: Path) -> None:
    judged = {**metrics(0.6), f"coverage/raw/{JUDGE}": rate(97, 100, 0.95)}
    pruned = arm("SCU/pooled", 0.6, metrics=judged)
    runs = [record(seed, arms=[arm("aligned", 0.1), pruned]) for seed in (0, 1)]
    (tmp_path / "seeds.csv").write_text("seed,a\n0,0.1\n1,0.2\n")
    of_a_file = {"shows": "higher", "arm": "a", "csv": "seeds.csv", "margin": 0.01}
    claims = claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE, of_a_file]})
    first, second = json.loads(render_claims(claims, settle(claims, runs), "json"))
    assert (first["margin"], first["csv"]) == (0.05, None)
    assert first["unscored"].endswith("SCU/pooled 194 of 200.")
    assert (second["margin"], second["csv"], second["unscored"]) == (0.01, "seeds.csv", "")


def test_claims_about_records_need_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped root would read as claims that nobody ran."""
    claims_of(tmp_path, {"claim": "c", "tests": [SCU_ABOVE]})
    command = ["claims", str(tmp_path / "claims.yaml"), "--root", str(tmp_path / "nowhere")]
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "No record below" in said.err
    assert main([*command, "--records-only"]) == 0, "claims that are still to be run"
    of_a_file = {"shows": "higher", "arm": "a", "csv": "seeds.csv"}
    claims_of(tmp_path, {"claim": "c", "tests": [of_a_file]})
    assert main(command) == 0


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


def test_seeds_that_other_judges_of_one_name_judged_test_no_claim(tmp_path: Path) -> None:
    claims = claims_of(tmp_path, {"claim": "c", "tests": [{**SCU_ABOVE, "metric": "asr/raw/gpt"}]})
    for models, verdict in ((("a", "a"), "supported"), (("a", "b"), "not testable")):
        runs = []
        for run, model in zip(seeds_of([0.6, 0.61]), models, strict=True):
            for item in run.arms:
                item.metrics["asr/raw/gpt"] = item.metrics[METRIC]
            runs.append(replace(run, judges={"gpt": {"model": model}}, later=("gpt",)))
        found = only(settle(claims, runs))
        assert found.verdict == verdict
        assert ("differ in model" in found.findings[0].lacking) == (verdict == "not testable")
