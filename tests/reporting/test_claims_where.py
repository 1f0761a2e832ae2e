"""Which runs a claim is about: ``where``, settings that differ, judges that do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.claims.settle import settle
from ssah_exp.reporting.claims.table import render_claims
from tests.reporting.claimed import METRIC, SCU_ABOVE, claims_of, only, seeds_of


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
