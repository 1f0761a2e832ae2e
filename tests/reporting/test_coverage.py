"""Answers that a judge left unscored, under a table and in its csv."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from ssah_exp.evaluation.intervals import rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.claims.claim_file import read_claims
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims
from ssah_exp.reporting.notes.coverage import coverage_note
from tests.records.synthetic import arms, record


def judged(seed: int, scored: dict[str, int], **changes: object) -> RunRecord:
    """Every arm's hundred answers, of which a judge scored so many; all where none is named."""
    made = [
        replace(
            item,
            metrics={
                **item.metrics,
                "asr/raw/hexphi": rate(1, scored.get(item.name, 100), 0.95),
                "coverage/raw/hexphi": rate(scored.get(item.name, 100), 100, 0.95),
            },
        )
        for item in arms()
    ]
    return record(seed, arms=made, **changes)


def test_scored_and_asked_stand_below_the_table_summed_over_seeds_and_draws() -> None:
    runs = [
        judged(0, {"aligned": 50, "SCU/pooled/random/1": 99}, status="incomplete"),
        judged(1, {"aligned": 0}),
    ]
    table = render_artefact(runs, "markdown")
    assert (
        "scored of asked, hexphi (raw): aligned 50 of 200, random like SCU/pooled 599 of 600. "
        f"Incomplete, because a judge failed: {runs[0].run_id};" in table
    )


def test_the_csv_has_the_coverage_that_is_not_whole() -> None:
    lines = render_artefact([judged(0, {"aligned": 50})], "csv").splitlines()
    assert any("coverage/raw/hexphi,0.5," in line and ",aligned," in line for line in lines)


def test_where_all_was_scored_nothing_is_said() -> None:
    for form in ("markdown", "csv"):
        whole = render_artefact([judged(0, {})], form)
        assert "coverage" not in whole
        assert "scored of asked" not in whole


def test_claims_say_which_answers_they_rest_on(tmp_path: Path) -> None:
    """A verdict stood without a word on rates over the half that a judge had scored."""
    test = {
        "shows": "higher",
        "arm": "SCU/pooled",
        "against": "aligned",
        "metric": "asr/raw/hexphi",
    }
    claim = {"claim": "c", "source": "s", "artefact": "table1_pruning", "tests": [test]}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim]}), encoding="utf-8")
    claims = read_claims(tmp_path / "claims.yaml")
    partly = [judged(0, {"aligned": 50}), judged(1, {})]
    said = render_claims(claims, settle(claims, partly), "markdown")
    assert "scored of asked, hexphi (raw): aligned 150 of 200." in said
    whole = [judged(0, {}), judged(1, {})]
    assert "scored of asked" not in render_claims(claims, settle(claims, whole), "markdown")


def test_single_attempts_of_an_attack_have_no_footnote() -> None:
    """Each of them would stand there beside the attack, which counts a request once."""
    made = judged(0, {"aligned": 50})
    for item in made.arms:
        for attempt in ("#1", "#2"):
            item.metrics[f"coverage/raw+gcg{attempt}/hexphi"] = rate(40, 100, 0.95)
    assert coverage_note([made]) == (
        "Unscored answers count in no number; scored of asked, hexphi (raw): aligned 50 of 100."
    )


def test_of_one_judge_nothing_is_said_that_another_left_out() -> None:
    made = judged(0, {"aligned": 50}, status="incomplete")
    own = "hexphi (raw): aligned 50 of 100."
    made.arms[0].metrics["coverage/raw/labels"] = rate(30, 100, 0.95)
    said = coverage_note([made], "labels")
    assert said is not None
    assert "scored of asked, labels (raw): unaligned 30 of 100. Incomplete" in said
    assert "hexphi" not in said
    assert own in (coverage_note([made], "hexphi") or "")
    assert f"{own[:-1]}; labels (raw): unaligned 30 of 100." in (coverage_note([made]) or "")
    assert coverage_note([made], "wei2024") is None, "it scored all, though the run is incomplete"


def test_a_judge_that_failed_later_is_named_where_its_numbers_stand() -> None:
    """A judge that failed in the run itself makes the run incomplete, and is no later one."""
    made = judged(0, {}, later=("hexphi",))
    failed = Outcomes(failed={"hexphi": 3, "wei2024": 2})
    made.arms[1] = replace(made.arms[1], outcomes=failed)
    note = (
        f"hexphi, asked after the runs, failed on answers of {made.run_id}; 'ssah-exp judges run' "
        "asks again."
    )
    assert coverage_note([made, judged(1, {})]) == note
    assert coverage_note([made], "hexphi") == note
    assert coverage_note([made], "wei2024") is None
