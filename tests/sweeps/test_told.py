"""What a job of a sweep tells the run it is: which job it is, for trackers, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssah_exp.records.trackers.sweep import VARIABLE, SweepJob, job_at_work, working_on
from ssah_exp.sweeps import worker
from ssah_exp.sweeps.job import Job
from tests.sweeps.frozen import sweep_of


def test_a_run_knows_its_job_while_it_works_and_nobody_does_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, known = sweep_of(tmp_path, 2), []

    def run(*_: object) -> Any:
        known.append(job_at_work())
        raise KeyboardInterrupt if len(known) == 2 else ValueError

    monkeypatch.setattr(Job, "config", lambda job: SimpleNamespace())
    monkeypatch.setattr("ssah_exp.pipeline.dispatch.run", run)
    worker.work(sweep, sweep.job(0))
    with pytest.raises(KeyboardInterrupt):
        worker.work(sweep, sweep.job(1))
    assert [(job.sweep, job.number) for job in known if job] == [(sweep.name, 0), (sweep.name, 1)]
    assert all(isinstance(job, SweepJob) for job in known)
    assert VARIABLE not in os.environ


def test_a_job_within_a_job_gives_way_to_the_outer_one(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 2)
    with working_on(sweep.job(0).folder):
        with working_on(sweep.job(1).folder):
            assert (job_at_work() or missing()).number == 1
        assert (job_at_work() or missing()).number == 0
        with working_on(None):
            assert job_at_work() is None


def test_a_run_that_works_in_another_folder_knows_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = sweep_of(tmp_path, 1).job(0)
    monkeypatch.chdir(tmp_path)
    with working_on(job.folder.relative_to(tmp_path)):
        monkeypatch.chdir(job.folder)
        assert (job_at_work() or missing()).sweep == "night"


def missing() -> SweepJob:
    raise AssertionError("no job is at work")


@pytest.mark.parametrize(
    "frozen", ["", "[]", "{}", '{"overrides": null}', '{"overrides": ["trainer.x=1", "seed=2"]}']
)
def test_a_damaged_job_holds_up_no_run_and_where_it_computed_is_not_shown(
    tmp_path: Path, frozen: str
) -> None:
    folder = tmp_path / "night" / "jobs" / "3"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(frozen)
    with working_on(folder):
        told = job_at_work()
    assert told == (SweepJob("night", 3, ("seed=2",)) if "seed" in frozen else None)


@pytest.mark.parametrize(
    "place",
    [
        "paths.root=x",
        "trainer.devices=2",
        "tracker=wandb",
        "hydra.verbose=true",
        "~paths.root",
        "+data.x.prompt_path=a.txt",
        "mt_bench={file:a}",
        "model.source.folder=a",
        "evaluation.dir=a",
        "x=/abs/a",
        "x=~/a",
        "x=./a",
        "x=../a",
        "x=[a,/b]",
        "x={y:/b}",
    ],
)
def test_overrides_that_name_places_leave_no_machine(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "night" / "jobs" / "3"
    folder.mkdir(parents=True)
    given = [place, "model.source.repo_id=org/name", "units.budgets.scu=0.02"]
    (folder / "job.json").write_text(json.dumps({"overrides": given}))
    with working_on(folder):
        told = job_at_work()
    assert told is not None
    assert told.overrides == tuple(given[1:])
