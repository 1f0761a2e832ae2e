"""What a job says of itself while it runs, and what is shown of it and of its sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssah_exp.sweeps import report, worker
from ssah_exp.sweeps.batch import run_here
from ssah_exp.sweeps.job import Job, differences
from ssah_exp.sweeps.report import end_of, lines, summary
from ssah_exp.sweeps.state import DONE, FAILED, MISSING, RUNNING, JobState
from ssah_exp.sweeps.status import SweepStatus, status_of
from tests.config.composing import config_of
from tests.sweeps.frozen import sweep_of, under_slurm


def test_a_new_step_is_said_at_once_and_a_count_every_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state is a file that is synced: thousands of them would hold up the run."""
    clock = [0.0]
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    job = sweep_of(tmp_path, 1).job(0)
    progress = worker._Progress(job, JobState(RUNNING))
    shown = []
    told = {"answers 1/9": 0.0, "answers 2/9": 1.9, "answers 3/9": 2.0, "scores 1/9": 2.1}
    for text, clock[0] in told.items():
        progress(text)
        shown.append(job.state().progress)
    assert shown == ["answers 1/9", "answers 1/9", "answers 3/9", "scores 1/9"]


def test_a_job_that_got_done_says_nothing_of_what_went_wrong_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, run = sweep_of(tmp_path, 1), tmp_path / "runs" / "table" / "abc"
    record = SimpleNamespace(run_id="abc", artefact="table")
    monkeypatch.setattr(Job, "config", lambda job: None)
    monkeypatch.setattr(
        "ssah_exp.pipeline.dispatch.run",
        lambda *_: SimpleNamespace(record=record, folder=run),
    )
    sweep.job(0).save(JobState(FAILED, attempts=1, error="the disk is full", progress="answers"))
    said: list[str] = []
    (state,) = run_here(sweep, sweep.jobs(), said.append)
    assert said[-1].endswith("seed=0  run abc")
    assert (state.status, state.attempts, state.error, state.progress) == (DONE, 2, None, "")
    assert state.seconds is not None
    assert sweep.job(0).state() == state


def test_a_sweep_is_summed_up_in_one_order_and_a_job_tried_twice_says_so(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 3)
    for job, attempts in zip(sweep.jobs(), (1, 2, 1), strict=True):
        job.save(JobState(FAILED, attempts=attempts, error="no"))
    failed = status_of(sweep).standings
    status = SweepStatus(sweep, [*failed[:2], replace(failed[2], status=DONE)])
    assert summary(status) == "sweep night: 3 jobs, 1 done, 2 failed"
    assert [line.split() for line in lines(status, FAILED)] == [
        ["0", "failed", "seed=0", "no"],
        ["1", "failed", "x2", "seed=1", "no"],
    ]


def test_the_only_job_of_a_sweep_is_told_by_all_it_was_given(tmp_path: Path) -> None:
    assert differences(sweep_of(tmp_path, 1).jobs()) == {0: "seed=0"}


@pytest.mark.parametrize(("status", "code"), [(MISSING, 0), (FAILED, 1)])
def test_what_slurm_was_just_given_and_does_not_list_yet_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    sweep = sweep_of(tmp_path, 1)
    seen = [replace(item, status=status) for item in status_of(sweep).standings]
    under_slurm(sweep)
    monkeypatch.setattr(report, "status_of", lambda _: SweepStatus(sweep, seen))
    assert end_of(sweep) == code


def test_a_job_goes_where_it_was_to_go_whoever_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = config_of("paths.root='~/out'")
    job = sweep_of(tmp_path, 0).freeze(0, [], config)
    assert job.config().paths.root == str(tmp_path / "out")
