"""Jobs that run in several processes: the sweep knows their runs, their log holds their words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssah_exp.records.store import RecordStore
from ssah_exp.sweeps.state import DONE, MISSING
from ssah_exp.sweeps.status import status_of
from tests.sweeps.tiny_sweep import Bench

TABLE = "table1_pruning"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher", [[], ["hydra/launcher=local", "hydra.launcher.workers=1"]], ids=["here", "local"]
)
def test_a_job_of_two_processes_says_which_run_it_was(
    bench: Bench, capfd: pytest.CaptureFixture[str], launcher: list[str]
) -> None:
    # Levels of intervals: all stages are cached. A level of its own makes a run of its own.
    given = [*launcher, "trainer.devices=2", "evaluation.confidence=0.8"]
    assert bench.run(*bench.arguments("-m", *given)) == 0
    printed = capfd.readouterr()
    assert "1 jobs, 1 done" in printed.err
    job = bench.sweep().job(0)
    (record,) = RecordStore(bench.root).read(TABLE)
    assert record.provenance["hardware"]["processes"] == 2
    state = job.state()
    assert (state.status, state.artefact, state.run_id) == (DONE, TABLE, record.run_id)
    log = job.log.read_text()
    table = (bench.root / "runs" / TABLE / record.run_id / "table.md").read_text()
    assert log.count(table.splitlines()[0]) == 1, "rank 0's, once"
    assert table.splitlines()[0] not in printed.out
    assert f"run {record.run_id}  " in log

    assert bench.run("status", "--format", "json", "--root", str(bench.root)) == 0
    (shown,) = json.loads(capfd.readouterr().out)["jobs"]
    assert (shown["status"], shown["run_id"]) == (DONE, record.run_id)
    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    assert "nothing to run again" in capfd.readouterr().err


def test_a_job_that_did_not_say_which_run_it_was_is_run_again(bench: Bench) -> None:
    """So ended jobs of several processes once."""
    assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.8")) == 0
    job = bench.sweep().job(0)
    whole = job.state()
    job.save(whole.changed(run_id=None, artefact=None, folder=None))
    (standing,) = status_of(bench.sweep()).standings
    assert standing.status == MISSING
    assert bench.run("cancel", "--root", str(bench.root)) == 0
    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    assert (job.state().status, job.state().run_id) == (DONE, whole.run_id)
