"""No job of a sweep is lost without a word: died workers, hand-overs that fail, exit codes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssah_exp.cli import main
from ssah_exp.errors import StoreError
from ssah_exp.owner import Owner
from ssah_exp.sweeps import (
    batch,
    folder,
    local,
    local_worker,
    worker,
)
from ssah_exp.sweeps.batch import run_here
from ssah_exp.sweeps.finding import find_sweep, sweeps_below
from ssah_exp.sweeps.folder import Sweep, open_sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.local import LocalOptions, run_at_once
from ssah_exp.sweeps.report import end_of, lines
from ssah_exp.sweeps.state import (
    CANCELLED,
    DONE,
    FAILED,
    INTERRUPTED,
    MISSING,
    QUEUED,
    RUNNING,
    JobState,
)
from ssah_exp.sweeps.status import SweepStatus, status_of
from tests.forbidden import forbid
from tests.sweeps.frozen import sweep_of

Capture = pytest.CaptureFixture[str]


def test_a_worker_that_dies_before_its_job_began_leaves_a_failed_job(
    tmp_path: Path, capsys: Capture
) -> None:
    sweep = sweep_of(tmp_path, 1)
    plan, said = sweep.folder / "sweep.json", list[str]()
    whole = plan.read_text()
    (state,) = run_at_once(
        sweep,
        sweep.jobs(),
        LocalOptions(workers=1, gpus=0),
        said.append,
        begin=lambda: plan.write_text("cut short") and None,
    )
    plan.write_text(whole)
    assert state.status == FAILED
    assert state.error == "its process died before the job began (exit code 1)"
    assert "failed" in said[-1]
    assert end_of(sweep) == 1
    assert main(["logs", "0", "--root", str(tmp_path)]) == 2
    assert "before the job began (exit code 1)" in capsys.readouterr().err.splitlines()[-1]


def test_a_worker_whose_master_is_gone_ends_behind_its_job_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after Ctrl+C twice: the second one ends the process that waits for its workers."""
    sweep_of(tmp_path, 1)
    mine, theirs = Pipe()
    worked: list[int] = []

    def work(sweep: Sweep, job: Job, check: str | None) -> JobState:
        worked.append(job.number)
        mine.close()
        return JobState(DONE)

    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr(local_worker, "_end_with_parent", lambda: None)
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    mine.send(0)
    try:
        local_worker.serve(theirs, str(tmp_path / "sweeps" / "night"), None, {})
    finally:
        signal.signal(signal.SIGINT, before)
    assert worked == [0]


def test_a_job_that_could_not_be_handed_over_goes_to_another_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Worker:
        """The first one is gone after its first job."""

        def __init__(self, folder: str, check: str | None, environment: dict[str, str]) -> None:
            self.environment = environment
            self.connection, self.theirs = Pipe()
            self.process = SimpleNamespace(join=lambda: None, exitcode=-15)
            self.given: list[int] = []
            self.job: Job | None = None
            self.since = 0.0
            made.append(self)

        def give(self, job: Job) -> bool:
            if self is made[0] and self.given:
                return False
            self.given.append(job.number)
            self.job = job
            job.save(JobState(DONE))
            self.theirs.send(job.number)
            return True

        def finished(self) -> JobState:
            self.connection.recv()
            return JobState(DONE)

    monkeypatch.setattr(local, "_Worker", Worker)
    sweep = sweep_of(tmp_path, 3)
    states = run_at_once(sweep, sweep.jobs(), LocalOptions(workers=1, gpus=0), lambda line: None)
    assert [worker.given for worker in made] == [[0], [1, 2]]
    assert [state.status for state in states] == [DONE] * 3


def test_handing_over_to_a_dead_process_is_no_error(tmp_path: Path) -> None:
    worker = object.__new__(local._Worker)
    worker.connection, theirs = Pipe()
    theirs.close()
    assert not worker.give(Job(tmp_path / "0003"))


@pytest.mark.parametrize(
    ("status", "code"), [(DONE, 0), (FAILED, 1), (INTERRUPTED, 1), (QUEUED, 1), (CANCELLED, 0)]
)
def test_the_exit_code_says_whether_all_got_done(tmp_path: Path, status: str, code: int) -> None:
    sweep = sweep_of(tmp_path, 1)
    job = sweep.job(0)
    (job.folder / "record.json").touch()
    job.save(JobState(status, folder="."))
    job.cancel(status == CANCELLED)
    assert end_of(sweep) == code


def test_a_sweep_that_a_full_disk_left_without_a_plan_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    sweep_of(tmp_path, 1)

    def refuse(path: Path, text: str) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_atomically", refuse)
        with pytest.raises(StoreError):
            open_sweep(tmp_path / "sweeps" / "noon", "batch", {}, {})
    assert not (tmp_path / "sweeps" / "noon" / "sweep.json").exists()
    (tmp_path / "sweeps" / "noon" / "sweep.json").touch()  # as one that was killed in between
    assert main(["status", "--all", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "sweep night: 1 jobs, 1 missing\n"
    assert main(["status", "--root", str(tmp_path)]) == 0


def test_what_fails_is_told_apart_from_all_jobs_not_from_what_else_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which budget it was that failed under every seed, above all."""
    sweep = sweep_of(tmp_path, 3)
    for job, scu in zip(sweep.jobs(), (1, 1, 2), strict=True):
        given = {"number": job.number, "overrides": ["x=0", f"scu={scu}", f"seed={job.number % 2}"]}
        (job.folder / "job.json").write_text(json.dumps(given))
        job.save(JobState(FAILED))
    status = status_of(sweep)
    failed = SweepStatus(sweep, [*status.standings[:2], replace(status.standings[2], status=DONE)])
    assert [line.split()[2:4] for line in lines(failed, FAILED)] == [
        ["scu=1", "seed=0"],
        ["scu=1", "seed=1"],
    ]
    monkeypatch.setattr(batch, "work", lambda sweep, job, check: JobState(DONE))
    said: list[str] = []
    run_here(sweep, sweep.jobs()[:1], said.append)
    assert "s  scu=1 seed=0  " in said[-1]


def test_what_may_not_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, 2)
    sweep.expect(2)
    with monkeypatch.context() as patch:
        forbid(patch, sweep.job(1).folder)
        with pytest.warns(UserWarning, match="Skipping .*0001: it cannot be read: Permission"):
            assert "Only 1 of at least 2 jobs" in str(sweep.cut_short(len(sweep.jobs())))
    with monkeypatch.context() as patch:
        forbid(patch, sweep.folder / "jobs")
        with pytest.raises(StoreError, match="jobs cannot be read: Permission denied"):
            sweep.jobs()
    forbid(monkeypatch, sweep.folder)
    with pytest.warns(UserWarning, match="Skipping .*night: it cannot be read: Permission denied"):
        assert sweeps_below(tmp_path) == []


@pytest.mark.parametrize("earlier", [True, False])
def test_a_record_is_found_from_a_sweep_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    """``sweeps`` may lie on another disk; finished jobs counted as missing for ever."""
    disk, root = tmp_path / "disk" / "deep" / "sweeps", tmp_path / "root"
    run = root / "runs" / "table" / "abc"
    for place in (disk, run):
        place.mkdir(parents=True)
    (root / "sweeps").symlink_to(disk)
    (run / "record.json").touch()
    sweep = sweep_of(root, 1)
    if earlier:
        sweep.job(0).save(JobState(DONE, run_id="abc", folder="../../../../runs/table/abc"))
    else:
        record = SimpleNamespace(run_id="abc", artefact="table")
        finished = SimpleNamespace(record=record, folder=run)
        monkeypatch.setattr(Job, "config", lambda job: None)
        monkeypatch.setattr("ssah_exp.pipeline.dispatch.run", lambda *_: finished)
        worker.work(sweep, sweep.job(0))
    (standing,) = status_of(sweep).standings
    assert (standing.status, standing.detail) == (DONE, "run abc")


def test_a_state_that_cannot_be_read_ends_no_command(tmp_path: Path) -> None:
    job = sweep_of(tmp_path, 1).job(0)
    (job.folder / "state.json").mkdir()
    with pytest.warns(UserWarning, match=r"Skipping .*state\.json"):
        assert job.state() == JobState()


@pytest.mark.parametrize("left", ["{", "[]"])
def test_a_damaged_sweep_hides_no_other(tmp_path: Path, capsys: Capture, left: str) -> None:
    sweep_of(tmp_path, 1)
    noon = open_sweep(tmp_path / "sweeps" / "noon", "batch", {}, {})
    (noon.folder / "sweep.json").write_text(left)
    for form in ([], ["--format", "json"], ["--json"]):
        assert main(["status", "--all", *form, "--root", str(tmp_path)]) == 1
        said = capsys.readouterr()
        assert "night" in said.out
        assert (said.out[0] == "[") == bool(form), "JSON where it is asked for"
        assert said.err.startswith("sweep noon: Cannot read ")
    assert main(["status", "night", "--all", "--root", str(tmp_path)]) == 2
    assert "leave 'night' or --all out" in capsys.readouterr().err


def test_a_run_is_found_in_whichever_sweep_made_it(tmp_path: Path, capsys: Capture) -> None:
    older = sweep_of(tmp_path, 1).job(0)
    older.save(JobState(DONE, run_id="abc"))
    older.log.write_text("said by the older\n")
    newer = open_sweep(tmp_path / "sweeps" / "noon", "local", {}, {})
    newer.job(0).folder.mkdir(parents=True)
    (newer.job(0).folder / "job.json").write_text(json.dumps({"overrides": [], "config": {}}))
    newer.job(0).log.write_text("said by the newer\n")
    for run, text in (("abc", "said by the older\n"), ("0", "said by the newer\n")):
        assert main(["logs", run, "--root", str(tmp_path)]) == 0
        assert capsys.readouterr().out == text
    assert main(["logs", "abc", "--sweep", "noon", "--root", str(tmp_path)]) == 2
    assert "Sweep noon has no job or finished run 'abc'" in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{"boot": "before"}, {"host": "node7"}])
def test_a_sweep_whose_machine_is_gone_can_be_run_again(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    """It was started anew, or is another: no process says that the sweep ended."""
    sweep = sweep_of(tmp_path, 2)
    sweep.job(0).save(JobState(RUNNING, attempts=1))
    gone = replace(Owner.me(), **changes)
    sweep.lock.mkdir()
    file = sweep.lock / gone.token
    file.write_text(f"{gone.to_json()}\n")
    assert [item.status for item in status_of(sweep).standings] == [RUNNING, QUEUED]
    os.utime(file, (time.time() - 600,) * 2)
    assert [item.status for item in status_of(sweep).standings] == [FAILED, MISSING]
    assert not list(sweep.folder.glob(".*")), "looking leaves nothing"


def test_a_sweep_elsewhere_counts_as_running_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, 1)
    other = replace(Owner.me(), host="node7")
    sweep.lock.mkdir()
    (sweep.lock / other.token).write_text(f"{other.to_json()}\n")
    os.utime(sweep.lock / other.token, (0, 0))

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    assert status_of(sweep).standings[0].status == QUEUED


def test_jobs_that_are_to_run_again_stay_failed_until_somebody_has_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process had it, the wait was broken off, and the failure was forgotten."""
    sweep = sweep_of(tmp_path, 1)
    plan = {**sweep.plan(), "options": {"workers": 1}}
    (sweep.folder / "sweep.json").write_text(json.dumps(plan))
    sweep.job(0).save(JobState(FAILED, error="once"))
    monkeypatch.setattr("ssah_exp.commands.retry_failed.check_code", lambda *_: None)

    @contextmanager
    def waiting(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(local, "held", waiting)
    assert main(["retry-failed", "--root", str(tmp_path)]) == 130
    state = sweep.job(0).state()
    assert (state.status, state.error) == (FAILED, "once")


@pytest.mark.parametrize("meanwhile", ["done", "cancelled"])
def test_jobs_that_changed_while_a_retry_waited_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, meanwhile: str
) -> None:
    """Another retry had the sweep: what it did, or what was cancelled in it, was queued again."""
    sweep = sweep_of(tmp_path, 2)
    sweep.keep_options({"workers": 1})
    for job in sweep.jobs():
        job.save(JobState(FAILED, error="once"))
    monkeypatch.setattr("ssah_exp.commands.retry_failed.check_code", lambda *_: None)

    @contextmanager
    def waited(*_: object) -> Iterator[None]:
        if meanwhile == "done":
            sweep.job(0).save(JobState(DONE, run_id="abc"))
        else:
            sweep.job(0).cancel()
        yield

    monkeypatch.setattr(local, "held", waited)
    assert main(["retry-failed", "--root", str(tmp_path)]) == 2
    assert "changed while this process waited" in capsys.readouterr().err
    assert [job.state().status for job in sweep.jobs()] == [
        DONE if meanwhile == "done" else FAILED,
        FAILED,
    ]
    assert sweep.job(0).cancelled is (meanwhile == "cancelled")


def test_a_persons_copy_of_a_job_is_no_job(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 2)
    shutil.copytree(sweep.job(0).folder, sweep.job(0).folder.with_name("0000.bak"))
    assert [job.number for job in sweep.jobs()] == [0, 1]


def test_the_next_step_names_what_finds_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    sweep = sweep_of(tmp_path / "a b", 1)
    sweep.job(0).save(JobState(FAILED, error="once"))
    end_of(sweep)
    given = f"'{sweep.folder}'"
    assert f"go on: ssah-exp retry-failed {given}\n" in capsys.readouterr().err
    monkeypatch.setenv("SSAH_ROOT", str(tmp_path / "a b"))
    end_of(sweep)
    assert "go on: ssah-exp retry-failed night\n" in capsys.readouterr().err


def test_the_newest_sweep_is_the_one_that_was_submitted_last(tmp_path: Path) -> None:
    """A folder may be called anything, and summer time repeats an hour."""
    for name, created in (("budget_grid", "2026-01-01"), ("2026-01-02_09", "2026-01-02")):
        sweep = open_sweep(tmp_path / "sweeps" / name, "batch", {}, {"digest": "x"})
        plan = {**sweep.plan(), "created": created}
        (sweep.folder / "sweep.json").write_text(json.dumps(plan))
    assert find_sweep(tmp_path, None).name == "2026-01-02_09"
    assert [sweep.name for sweep in sweeps_below(tmp_path)] == ["budget_grid", "2026-01-02_09"]
    damaged = tmp_path / "sweeps" / "a" / "sweep.json"
    damaged.parent.mkdir()
    damaged.write_text("cut short")
    assert find_sweep(tmp_path, None).name == "a", "no other is taken for it"


@pytest.mark.parametrize("left", [QUEUED, RUNNING])
def test_a_job_that_could_not_write_how_it_ended_says_so_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """On a disk that was full for a while it stayed as it was, and the reason was lost."""
    sweep = sweep_of(tmp_path, 1)
    job = sweep.job(0)
    job.save(JobState(left))
    lines: list[str] = []
    crew = local._Crew(sweep, [job], lines.append, None)
    worker = object.__new__(local._Worker)
    worker.connection, theirs = Pipe()
    worker.job, worker.since = job, 0.0
    theirs.send(JobState(FAILED, error="Cannot write state.json: the disk is full.").to_json())
    crew._report(worker, worker.finished())
    assert "failed" in lines[0]
    assert lines[0].endswith("Cannot write state.json: the disk is full.")
    assert job.state().error == "Cannot write state.json: the disk is full.", "there is room again"


def test_jobs_run_again_where_they_were_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their frozen configs may hold relative paths, and ``--root`` may be one, too."""
    there, here = tmp_path / "there", tmp_path / "here"
    for place in (there, here):
        place.mkdir()
    monkeypatch.chdir(there)
    sweep_of(tmp_path, 1)
    monkeypatch.chdir(here)
    found: list[tuple[Path, Path]] = []

    def work(sweep: Sweep, job: Job, check: str | None) -> JobState:
        found.append((Path.cwd(), job.folder))
        return JobState(DONE)

    monkeypatch.setattr(batch, "work", work)
    sweep = find_sweep(Path(".."), None)
    run_here(sweep, sweep.jobs(), lambda line: None)
    assert found == [(there, here / ".." / "sweeps" / "night" / "jobs" / "0000")]
    assert Path.cwd() == here
    there.rmdir()
    said: list[str] = []
    run_here(sweep, sweep.jobs(), said.append)
    assert said[0].startswith(f"{there}, where the sweep was submitted, is gone")


def test_a_sweep_may_lie_at_the_top_of_a_file_system(tmp_path: Path) -> None:
    assert Sweep(Path("/sweep")).given_as == "/sweep"


def test_a_sweep_without_jobs_has_no_job_minus_one(tmp_path: Path, capsys: Capture) -> None:
    sweep_of(tmp_path, 0)
    assert main(["logs", "0", "--root", str(tmp_path)]) == 2
    assert "no job of it is written down" in capsys.readouterr().err
