"""Cancelled jobs of a Slurm sweep: none is left in the queue, and none runs twice."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hydra_plugins.ssah_exp_sweeps.launchers import SlurmLauncher
from ssah_exp.cli import main
from ssah_exp.commands import retry_failed
from ssah_exp.errors import ClusterError
from ssah_exp.sweeps import controller, slurm
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import CANCELLED, FAILED, INTERRUPTED, JobState
from ssah_exp.sweeps.status import status_of
from tests.sweeps.frozen import sweep_of, under_slurm

Capture = pytest.CaptureFixture[str]


def test_cancel_names_no_job_that_slurm_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, 2)
    under_slurm(sweep)
    sweep.job(0).save(JobState(INTERRUPTED))
    given: list[str] = []
    monkeypatch.setattr(controller, "queue", lambda *asked: {"7_1": ("PENDING", "Resources")})
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    monkeypatch.setattr(controller, "cancel", given.extend)
    assert main(["cancel", "--root", str(tmp_path)]) == 0
    assert given == ["7_1"]
    assert [item.status for item in status_of(sweep).standings] == [CANCELLED] * 2


def test_jobs_that_a_cancel_could_not_take_back_are_taken_back_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked as cancelled, they stood in the queue, and no second `cancel` asked for them."""
    sweep = sweep_of(tmp_path, 3)
    under_slurm(sweep)
    sweep.job(2).save(JobState(CANCELLED))
    there = {f"7_{number}": ("PENDING", "Resources") for number in (0, 1)}

    def silent(tickets: list[str]) -> None:
        raise ClusterError("Slurm does not answer.")

    monkeypatch.setattr(controller, "queue", lambda *asked: there)
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    with monkeypatch.context() as patch:
        patch.setattr(controller, "cancel", silent)
        assert main(["cancel", "--root", str(tmp_path)]) == 2
    given: list[str] = []
    monkeypatch.setattr(controller, "cancel", given.extend)
    assert main(["cancel", "--root", str(tmp_path)]) == 0
    assert given == ["7_0", "7_1"]


def test_cancelled_jobs_that_slurm_still_has_do_not_run_beside_their_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, 2)
    under_slurm(sweep)
    sweep.job(0).cancel()
    sweep.job(1).save(JobState(FAILED, error="no"))
    order: list[object] = []

    def submit(sweep: Sweep, jobs: list[Job], options: object) -> str:
        order.append([job.number for job in jobs])
        return "8"

    both = {f"7_{number}": ("PENDING", "Resources") for number in range(2)}
    monkeypatch.setattr(controller, "queue", lambda *asked: both)
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    monkeypatch.setattr(controller, "cancel", order.append)
    monkeypatch.setattr(retry_failed, "check_code", lambda *given: None)
    monkeypatch.setattr(retry_failed, "checked_launcher", lambda *given: slurm.SlurmOptions())
    monkeypatch.setattr(retry_failed, "submit", submit)
    main(["retry-failed", "--root", str(tmp_path)])
    assert order == [["7_0"], [0, 1]]
    assert not sweep.job(0).cancelled


def test_a_launch_that_was_cancelled_asks_slurm_for_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Before sbatch or while it had them: every job took an allocation only to end."""
    sweep = sweep_of(tmp_path, 3)
    sweep.job(0).cancel()
    given: list[object] = []

    def submit(sweep: Sweep, jobs: list[Job], options: object) -> str:
        given.append([job.number for job in jobs])
        for job in jobs:
            job.give_ticket(f"7_{job.number}")
        jobs[0].cancel()
        return "7"

    there = {f"7_{number}": ("PENDING", "Resources") for number in range(3)}
    monkeypatch.setattr(controller, "queue", lambda *asked: there)
    monkeypatch.setattr(slurm, "submit", submit)
    monkeypatch.setattr(controller, "cancel", given.append)
    launch: Any = SimpleNamespace(sweep=sweep)
    SlurmLauncher().run(launch, sweep.jobs())
    assert given == [[1, 2], ["7_1"]]
    said = capsys.readouterr().err
    assert "2 jobs are Slurm's array 7" in said
    assert "2 jobs were cancelled meanwhile" in said
    for job in sweep.jobs():
        job.cancel()
    SlurmLauncher().run(launch, sweep.jobs())
    assert given[2:] == [], "nothing is submitted, and of nothing is anything left"


def test_a_cancel_while_sbatch_has_the_jobs_interrupts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch would lose the numbers that Slurm gives, and a retry run all jobs twice."""
    sweep = sweep_of(tmp_path, 2)
    under_slurm(sweep)
    tickets = {job.number: job.folder / "slurm.json" for job in sweep.jobs()}
    for file in tickets.values():
        file.unlink()
    there = {f"7_{number}": ("PENDING", "Resources") for number in range(2)}
    taken: list[str] = []

    def submit(sweep: Sweep, jobs: list[Job], options: object) -> str:
        assert main(["cancel", "--root", str(tmp_path)]) == 0
        for job in jobs:
            job.give_ticket(f"7_{job.number}")
        return "7"

    monkeypatch.setattr(os, "kill", lambda *given: pytest.fail("a signal"))
    monkeypatch.setattr(controller, "queue", lambda *asked: there)
    monkeypatch.setattr(slurm, "submit", submit)
    monkeypatch.setattr(controller, "cancel", taken.extend)
    launch: Any = SimpleNamespace(sweep=sweep)
    SlurmLauncher().run(launch, sweep.jobs())
    assert taken == ["7_0", "7_1"]
    for job in sweep.jobs():
        job.cancel(False)
        job.save(JobState(FAILED))
    taken.clear()
    monkeypatch.setattr(controller, "queue", lambda *asked: {} if not taken else there)
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    monkeypatch.setattr(retry_failed, "check_code", lambda *given: None)
    monkeypatch.setattr(retry_failed, "checked_launcher", lambda *given: slurm.SlurmOptions())

    def submit_again(sweep: Sweep, jobs: list[Job], options: object) -> str:
        monkeypatch.setattr(controller, "queue", lambda *asked: there)
        jobs[1].cancel()
        return "7"

    monkeypatch.setattr(retry_failed, "submit", submit_again)
    main(["retry-failed", "--root", str(tmp_path)])
    assert taken == ["7_1"]
