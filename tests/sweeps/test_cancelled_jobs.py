"""Cancelled jobs that processes of ours run: whom `cancel` reaches, and what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.commands import cancel
from ssah_exp.lock import held
from ssah_exp.owner import Owner, _start_of
from ssah_exp.sweeps import (
    local,
)
from ssah_exp.sweeps.state import (
    CANCELLED,
    INTERRUPTED,
    RUNNING,
    JobState,
)
from ssah_exp.sweeps.status import status_of
from tests.sweeps.frozen import sweep_of

Capture = pytest.CaptureFixture[str]


def test_a_cancelled_job_is_called_that(tmp_path: Path) -> None:
    job = sweep_of(tmp_path, 1).job(0)
    job.cancel()
    assert local._died(job, -15).status == CANCELLED
    job.cancel(False)
    assert local._died(job, -15).error == "its process died before the job began (exit code -15)"


def test_a_cancelled_job_runs_until_it_has_ended(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 2)
    job = sweep.job(0)
    job.save(JobState(RUNNING, attempts=1, progress="[3/14] align"))
    job.cancel()
    sweep.job(1).cancel()
    with held(sweep.lock, "sweep", print):
        first, second = status_of(sweep).standings
    assert (first.status, first.detail) == (RUNNING, "asked to end; [3/14] align")
    assert second.status == CANCELLED
    assert [item.status for item in status_of(sweep).standings] == [CANCELLED] * 2


def test_cancel_does_not_promise_that_a_dead_process_ends(tmp_path: Path, capsys: Capture) -> None:
    sweep = sweep_of(tmp_path, 1)
    sweep.job(0).save(JobState(INTERRUPTED))
    dead = replace(Owner.me(), started=1)
    sweep.lock.mkdir()
    (sweep.lock / dead.token).write_text(f"{dead.to_json()}\n")
    assert main(["cancel", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "sweep night: 1 jobs cancelled\n"


@pytest.mark.parametrize("ignored", [True, False])
def test_cancel_ends_what_a_script_started_in_the_background(tmp_path: Path, ignored: bool) -> None:
    """``&`` in a script has the process ignore Ctrl+C, and the sweep went on as if not asked."""
    code = "import signal, time\nprint(signal.getsignal(2) is signal.SIG_IGN, flush=True)\n"
    waiting = [sys.executable, "-c", f"{code}time.sleep(60)"]
    how = signal.SIG_IGN if ignored else signal.SIG_DFL
    begin = partial(signal.signal, signal.SIGINT, how)
    process = subprocess.Popen(waiting, stdout=subprocess.PIPE, text=True, preexec_fn=begin)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{ignored}\n"
    sweep = sweep_of(tmp_path, 1)
    owner = replace(Owner.me(), pid=process.pid, started=_start_of(process.pid) or 0)
    sweep.lock.mkdir()
    (sweep.lock / owner.token).write_text(f"{owner.to_json()}\n")
    assert main(["cancel", "--root", str(tmp_path)]) == 0
    ended = process.wait(timeout=30)
    assert (ended == -signal.SIGTERM) is ignored


def test_another_users_process_is_left_to_end_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    sweep = sweep_of(tmp_path, 1)
    monkeypatch.setattr(cancel, "owner_of", lambda lock: Owner.me())

    def kill(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(cancel.os, "kill", kill)
    assert main(["cancel", "--root", str(tmp_path), sweep.name]) == 0
    cancel._interrupt(sweep)
    assert "cannot be reached from here; it ends after the job it is at" in capsys.readouterr().err


def test_a_second_cancel_reaches_the_process_that_the_first_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given on a login node first, it left the job running for hours."""
    sweep = sweep_of(tmp_path, 2)
    sweep.job(0).save(JobState(RUNNING))
    asked: list[str] = []
    monkeypatch.setattr(cancel, "_interrupt", lambda sweep: asked.append(sweep.name))
    with held(sweep.lock, "sweep", print):
        for _ in range(2):
            assert main(["cancel", "--root", str(tmp_path)]) == 0
    assert asked == ["night", "night"]
    sweep.job(0).save(JobState(INTERRUPTED))
    assert main(["cancel", "--root", str(tmp_path)]) == 0
    assert len(asked) == 2, "nothing runs any more"
