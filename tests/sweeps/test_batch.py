"""Sweeps in one process: frozen, run to the end whatever fails, summed up, gone on with."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ssah_exp.config.compose import conf_dir
from ssah_exp.models import load
from ssah_exp.owner import Owner
from ssah_exp.pipeline import dispatch
from ssah_exp.records.store import RecordStore
from ssah_exp.sweeps import code, controller
from ssah_exp.sweeps.finding import find_sweep
from ssah_exp.sweeps.launching import LAUNCHED
from ssah_exp.sweeps.state import DONE, FAILED, INTERRUPTED, MISSING, QUEUED, RUNNING, JobState
from ssah_exp.sweeps.status import status_of
from tests.sweeps.tiny_sweep import Bench

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("count", [3, pytest.param(64, marks=pytest.mark.slow)])
def test_a_grid_of_cached_configurations_takes_no_forward_pass_and_little_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Capture, count: int
) -> None:
    """Settings of the intervals' level: other run ids, the same answers."""

    def refuse(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(load, "load_model", refuse)
    monkeypatch.setattr("ssah_exp.pipeline.stages.slot.load_model", refuse)
    levels = ",".join(f"0.9{number:02d}" for number in range(count))
    started = time.process_time()
    assert bench.run(*bench.arguments("-m", f"evaluation.confidence={levels}")) == 0
    assert (time.process_time() - started) / count < 1.0
    assert len(RecordStore(bench.root).read("table1_pruning")) == count
    assert f"{count} jobs, {count} done" in capsys.readouterr().err


def test_a_job_that_fails_does_not_stop_the_others_and_can_be_run_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The second job of three fails like a bug; its config is frozen, ``conf/`` has moved on."""
    whole = dispatch.PIPELINES["table1_pruning"]

    def failing(config, reporter):  # type: ignore[no-untyped-def]
        if config.evaluation.confidence == 0.9:
            raise ZeroDivisionError("once")
        return whole(config, reporter)

    with monkeypatch.context() as patch:
        patch.setitem(dispatch.PIPELINES, "table1_pruning", failing)
        levels = "evaluation.confidence=0.8,0.9,0.95"
        assert bench.run(*bench.arguments("-m", levels)) == 1
    said = capsys.readouterr().err
    assert "3 jobs, 2 done, 1 failed" in said
    assert "ZeroDivisionError: once" in said
    sweep = bench.sweep()
    status = status_of(sweep)
    assert [item.status for item in status.standings] == [DONE, FAILED, DONE]
    assert bench.run("logs", "1", "--root", str(bench.root)) == 0
    assert "Traceback" in capsys.readouterr().out

    experiment = bench.place / "conf" / "experiment" / "tiny.yaml"
    before = experiment.read_text()
    experiment.write_text("broken: [")
    try:
        assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    finally:
        experiment.write_text(before)
    assert [item.status for item in status_of(sweep).standings] == [DONE] * 3
    assert [item.state.attempts for item in status_of(sweep).standings] == [1, 2, 1]
    record = RecordStore(bench.root).get("table1_pruning", str(sweep.job(1).state().run_id))
    assert record is not None
    assert record.config["evaluation"]["confidence"] == 0.9
    capsys.readouterr()
    assert bench.run("status", "--format", "json", "--root", str(bench.root)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["counts"] == {"done": 3}
    assert shown["jobs"][1]["run_id"] == record.run_id
    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    assert "nothing to run again" in capsys.readouterr().err


def test_a_job_whose_judge_failed_is_not_done_and_is_run_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    whole = dispatch.PIPELINES["table1_pruning"]

    def outage(config, reporter):  # type: ignore[no-untyped-def]
        finished = whole(config, reporter)
        outcomes = finished.record.arms[0].outcomes
        assert outcomes is not None
        outcomes.failed["first"] = 3
        return finished

    with monkeypatch.context() as patch:
        patch.setitem(dispatch.PIPELINES, "table1_pruning", outage)
        assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.85")) == 1
    (standing,) = status_of(bench.sweep()).standings
    assert standing.status == FAILED
    assert "is incomplete: judge 'first' failed on 3 answers" in standing.detail
    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    (standing,) = status_of(bench.sweep()).standings
    assert standing.status == DONE


def test_a_wrong_job_is_refused_before_any_runs(bench: Bench, capsys: Capture) -> None:
    assert bench.run(*bench.arguments("-m", "units.samples=5,1,0")) == 2
    said = capsys.readouterr().err
    assert "Job 1 (" in said
    assert "Job 2 (" in said
    assert "units.samples=1 is below 2." in said
    assert not (bench.root / "runs").exists()
    assert LAUNCHED == []


@pytest.mark.parametrize("values", ["seed=range(0,0)", "experiment=glob(tabel*)"])
def test_a_sweep_of_no_jobs_is_refused(bench: Bench, values: str, capsys: Capture) -> None:
    """A mistyped pattern would look like a night's work that is done."""
    assert bench.run(*bench.arguments("-m", values)) == 2
    assert "The sweep has no jobs" in capsys.readouterr().err
    assert LAUNCHED == []


def test_changed_code_is_refused_unless_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.8")) == 0
    job = bench.sweep().job(0)
    job.save(job.state().changed(status=FAILED))
    monkeypatch.setattr(code, "_digest", lambda: "another")
    capsys.readouterr()
    assert bench.run("retry-failed", "--root", str(bench.root)) == 2
    said = capsys.readouterr().err
    assert "the code changed since the sweep was submitted" in said
    assert len(said.splitlines()) == 1
    assert job.state().status == FAILED
    assert bench.run("retry-failed", "--take-code", "--root", str(bench.root)) == 0
    assert "Going on although the code changed" in capsys.readouterr().err
    assert job.state().status == DONE


def test_the_digest_of_the_code_sees_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "package" / "sweeps" / "code.py"
    file.parent.mkdir(parents=True)
    file.write_text("a = 1\n")
    monkeypatch.setattr(code, "__file__", str(file))
    before = code.code_state()["digest"]
    assert code.code_state()["digest"] == before
    file.write_text("a = 2\n")
    assert code.code_state()["digest"] != before


def test_what_is_left_behind_is_told_apart(bench: Bench) -> None:
    """Nobody runs the sweep any more: what waits is missing, what ran has died."""
    assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.8,0.9,0.95,0.99")) == 0
    sweep = bench.sweep()
    states = {1: QUEUED, 2: RUNNING, 3: INTERRUPTED}
    for number, status in states.items():
        job = sweep.job(number)
        job.save(JobState(status, attempts=1, owner=Owner.me()))
    found = status_of(sweep).standings
    assert [item.status for item in found] == [DONE, MISSING, FAILED, INTERRUPTED]
    assert "its process died" in found[2].detail
    record = bench.root / "runs" / "table1_pruning" / str(sweep.job(0).state().run_id)
    (record / "record.json").unlink()
    assert status_of(sweep).standings[0].status == MISSING
    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    assert [item.status for item in status_of(sweep).standings][1:] == [DONE] * 3


def test_a_job_with_a_lost_record_makes_it_again(bench: Bench) -> None:
    assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.8")) == 0
    job = bench.sweep().job(0)
    folder = bench.root / "runs" / "table1_pruning" / str(job.state().run_id)
    (folder / "record.json").unlink()
    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    assert (folder / "record.json").is_file()


def test_a_frozen_job_is_the_config_it_was_composed_from(bench: Bench) -> None:
    assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.8", "seed=0")) == 0
    sweep = find_sweep(bench.root, bench.sweep().name)
    config = sweep.job(0).config()
    assert (config.seed, config.evaluation.confidence) == (0, 0.8)
    assert Path(config.paths.root).is_absolute()
    assert sweep.plan()["launcher"] == "batch"


def test_a_search_asks_and_tells(bench: Bench, capsys: Capture) -> None:
    pytest.importorskip("optuna")
    arguments = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.metric=perplexity",
        "hydra.sweeper.arm=aligned",
        "hydra.sweeper.direction=minimize",
        "hydra.sweeper.trials=3",
        "evaluation.confidence=interval(0.8,0.99)",
    ]
    assert bench.run(*bench.arguments("-m", *arguments)) == 0
    content = json.loads((bench.sweep().folder / "search.json").read_text())
    records = {
        record.config["evaluation"]["confidence"]: record
        for record in RecordStore(bench.root).read("table1_pruning")
    }
    assert len(content["trials"]) == len(records) == 3
    for trial in content["trials"]:
        record = records[trial["overrides"]["evaluation.confidence"]]
        (aligned,) = [arm for arm in record.arms if arm.name == "aligned"]
        assert trial["value"] == aligned.metrics["perplexity"].value
    assert "best of 3" in capsys.readouterr().err
    wrong = [item.replace("arm=aligned", "arm=alinged") for item in arguments]
    assert bench.run(*bench.arguments("-m", *wrong)) == 2
    assert "Did you mean 'aligned'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["hydra.launcher.minutes=0"], "hydra.launcher.minutes=0 is below 1."),
        (["hydra.launcher.code=maybe"], "hydra.launcher.code=maybe"),
        (["+hydra.launcher.partiton=x"], "Did you mean 'partition'?"),
        ([], "is not on the PATH: no Slurm on this machine"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_message(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    options: list[str],
    expected: str,
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(controller.shutil, "which", lambda name: None)
    chosen = ["hydra/launcher=slurm", "evaluation.confidence=0.8,0.9", *options]
    assert bench.run(*bench.arguments("-m", *chosen)) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert "Traceback" not in said


def test_every_table_is_one_sweep_command() -> None:
    """Each experiment can be launched with -m: it sets no launcher, and no sweeper but a list."""
    paths = [*(conf_dir() / "experiment").glob("*.yaml")]
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "hydra/launcher" not in text
        assert ("hydra" in text) == ("override /hydra/sweeper: list" in text), path.name
