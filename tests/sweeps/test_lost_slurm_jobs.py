"""No job of a Slurm sweep is lost, or run twice: what the queue and the books say of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.commands import retry_failed
from ssah_exp.errors import ClusterError, StoreError
from ssah_exp.sweeps import controller, slurm_worker, status
from ssah_exp.sweeps import job as job_files
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import (
    FAILED,
    INTERRUPTED,
    MISSING,
    QUEUED,
    RUNNING,
    UNFINISHED,
    JobState,
)
from ssah_exp.sweeps.status import status_of
from tests.sweeps.frozen import sweep_of, under_slurm

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("number", ["--user=somebody", "-v", "7_1 8", "../7_*", "7_1\n", None])
def test_what_is_no_number_reaches_no_program_of_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, number: str | None
) -> None:
    """A sweep's folder may be another person's: ``scancel --user=ME`` would end all jobs."""
    sweep = sweep_of(tmp_path, 2)
    under_slurm(sweep)
    (sweep.job(0).folder / "slurm.json").write_text(json.dumps({"job": number}))
    asked: list[tuple[str, ...]] = []

    def ask(*words: str) -> str:
        asked.append(words)
        return ""

    monkeypatch.setattr(controller, "ask", ask)
    for command in ("status", "cancel"):
        main([command, "--root", str(tmp_path)])
    assert "job 0: Slurm's number for it cannot be read" in capsys.readouterr().err
    assert not [words for words in asked if str(number) in words]


@pytest.mark.parametrize(
    ("ends", "status", "detail"),
    [
        ({"7_0": "FAILED"}, FAILED, "Slurm says FAILED"),  # a full disk: it could not say it ran
        ({}, MISSING, "never started"),
    ],
)
def test_a_silent_job_that_slurm_ended_has_failed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: dict[str, str],
    status: str,
    detail: str,
) -> None:
    sweep = sweep_of(tmp_path, 1)
    under_slurm(sweep)
    monkeypatch.setattr(controller, "queue", lambda *asked: {})
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: ends)
    (found,) = status_of(sweep).standings
    assert found.status == status
    assert detail in found.detail


@pytest.mark.parametrize("left", ["", "{", "[]", "{}", '{"job": 7}'])
def test_a_number_at_slurm_that_cannot_be_read_hides_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    """`status` of the whole sweep ended; called missing, such a job would be run twice."""
    sweep = sweep_of(tmp_path, 4)
    under_slurm(sweep)
    sweep.job(1).save(JobState(RUNNING, progress="step 7"))
    sweep.job(2).save(JobState(INTERRUPTED))
    for number in (1, 2, 3):
        (sweep.job(number).folder / "slurm.json").write_text(left)
    given: list[str] = []
    monkeypatch.setattr(controller, "queue", lambda *asked: {"7_0": ("PENDING", "Resources")})
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    monkeypatch.setattr(controller, "cancel", given.extend)
    found = status_of(sweep)
    assert [item.status for item in found.standings] == [QUEUED, RUNNING, QUEUED, QUEUED]
    assert found.standings[0].detail == "pending: Resources"
    assert found.standings[1].detail.startswith("step 7; slurm.json in its folder is damaged")
    assert found.standings[3].detail.startswith("slurm.json in its folder is damaged")
    assert found.of(*UNFINISHED) == []
    root = ["--root", str(tmp_path)]
    assert main(["status", "--format", "json", *root]) == 0
    numbers = [job["slurm"] for job in json.loads(capsys.readouterr().out)["jobs"]]
    assert numbers == ["7_0", None, None, None]
    (sweep.job(3).folder / "slurm.json").unlink()
    assert [job.number for job in status_of(sweep).of(MISSING)] == [3]
    assert main(["cancel", *root]) == 0
    assert given == ["7_0"]
    assert "job 1: Slurm's number for it cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [{"7_0": "FAILED"}, {}])
@pytest.mark.parametrize("attempts", [0, 1])
def test_a_job_that_died_before_its_worker_began_says_what_its_setup_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: dict[str, str], attempts: int
) -> None:
    """`status` had no line for it, or after a retry the one of an earlier attempt."""
    sweep = sweep_of(tmp_path, 1)
    under_slurm(sweep)
    job = sweep.job(0)
    job.save(JobState(QUEUED, attempts=attempts))
    if attempts:
        job.log.write_text("of the first attempt\n")
    monkeypatch.setattr(controller, "queue", lambda *asked: {})
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: ends)
    (sweep.folder / "slurm").mkdir()
    for ticket, text in (("7_0", "no module named cuda\n\n"), ("7_1", "another's\n")):
        (sweep.folder / "slurm" / f"{ticket}_0_log.out").write_text(text)
    (found,) = status_of(sweep).standings
    assert found.status == FAILED
    assert found.detail.endswith("; last line: no module named cuda")
    job.save(JobState(RUNNING, attempts=2))
    job.log.write_text("step 7\n")
    (found,) = status_of(sweep).standings
    assert found.detail.endswith("; last line: step 7")


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("FAILED", "3:0", "Slurm says FAILED with exit code 3"),
        ("FAILED", "0:9", "Slurm says FAILED by signal 9"),
        ("TIMEOUT", "0:0", "Slurm says TIMEOUT"),
    ],
)
@pytest.mark.parametrize("accounting", [True, False])
def test_a_setup_that_ends_without_a_word_leaves_its_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accounting: bool,
    state: str,
    code: str,
    said: str,
) -> None:
    """A bare ``exit 3`` prints nothing: its code is all there is to show."""
    sweep = sweep_of(tmp_path, 1)
    under_slurm(sweep)

    def ask(program: str, *words: str) -> str:
        if program == "sacct" and accounting and words[-1].endswith("ExitCode,JobName"):
            return f"7_0|{state}|{code}|ssah-night\n"
        if program == "sacct" and accounting:
            return f"7_0|{state}\n"
        if program == "sacct":
            raise ClusterError("no accounting")
        if program == "scontrol":
            told = "JobId=9 ArrayJobId=7 ArrayTaskId=0 JobName=ssah-night"
            return f"{told} JobState={state} ExitCode={code}\n"
        return ""

    monkeypatch.setattr(controller, "ask", ask)
    (found,) = status_of(sweep).standings
    assert (found.status, found.detail) == (FAILED, f"its process died: {said}")


def test_how_a_job_ended_is_said_of_none_that_slurm_still_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was queued again keeps the code of its last end."""
    listed = "7_0|PENDING|0:15|a\n7_1|RUNNING|1:0|a\n7_2|CANCELLED by 1000|0:15|a\n"
    monkeypatch.setattr(controller, "ask", lambda *words: listed)
    found = controller.ended(["7_0", "7_1", "7_2"], "a")
    assert [found["7_0"], found["7_1"]] == ["PENDING", "RUNNING"]
    assert found["7_2"].startswith("CANCELLED by 1000")


@pytest.mark.parametrize("end", ["RUNNING", "PENDING", "REQUEUED", "COMPLETING"])
def test_a_job_that_slurm_still_has_is_not_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Of a colleague's sweep the queue may show me nothing; run again, it would run twice."""
    sweep = sweep_of(tmp_path, 3)
    under_slurm(sweep)
    sweep.job(0).save(JobState(RUNNING, attempts=1))
    sweep.job(1).save(JobState(INTERRUPTED, attempts=1))
    monkeypatch.setattr(controller, "queue", lambda *asked: {})
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: dict.fromkeys(tickets, end))
    mine = status_of(sweep)
    assert [item.status for item in mine.standings] == [FAILED, INTERRUPTED, FAILED], "not hidden"
    monkeypatch.setattr(status.os, "getuid", lambda: sweep.folder.stat().st_uid + 1)
    runs = RUNNING if end == "RUNNING" else QUEUED
    assert [item.status for item in status_of(sweep).standings] == [runs, QUEUED, QUEUED]
    assert status_of(sweep).of(*UNFINISHED) == []


@pytest.mark.parametrize(
    ("reason", "stuck"),
    [
        ("PartitionTimeLimit", True),
        ("PartitionNodeLimit", True),
        ("BadConstraints", True),
        ("DependencyNeverSatisfied", True),
        ("InvalidAccount", True),
        ("InvalidQOS", True),
        ("AssocMaxWallDurationPerJobLimit", True),
        ("AssocMaxCpuPerJobLimit", True),
        ("QOSMaxWallDurationPerJobLimit", True),
        ("QOSMaxGRESPerNode", True),
        ("QOSMaxMemoryPerJob", True),
        ("QOSMinGRES", True),
        ("JobHeldUser", True),
        ("JobHeldAdmin", True),
        ("launch failed requeued held", True),
        ("Resources", False),
        ("Priority", False),
        ("Dependency", False),
        ("QOSMaxJobsPerUserLimit", False),
        ("QOSMaxCpuPerUserLimit", False),
        ("QOSGrpCpuLimit", False),
        ("AssocGrpGRES", False),
        ("AssocMaxJobsLimit", False),
        ("ReqNodeNotAvail, UnavailableNodes:node0", False),
    ],
)
def test_a_job_that_waits_for_ever_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, stuck: bool
) -> None:
    sweep = sweep_of(tmp_path, 1)
    under_slurm(sweep)
    monkeypatch.setattr(controller, "queue", lambda *asked: {"7_0": ("PENDING", reason)})
    (found,) = status_of(sweep).standings
    assert found.status == QUEUED
    assert found.detail == f"pending: {reason}" + "; it will not start like this" * stuck


def test_slurm_is_asked_for_the_jobs_of_whoever_submitted_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*words: str) -> str:
        asked.append(words)
        return "7_0|PENDING|Resources|ssah-a|b\n7_1|RUNNING|None|ssah-c\n"

    monkeypatch.setattr(controller, "ask", ask)
    found = controller.queue((1007, 3, 1007), "ssah-a|b")
    assert found == {"7_0": ("PENDING", "Resources")}, "a number may be somebody else's by now"
    assert "--user=3,1007" in asked[0]
    assert "--all" in asked[0], "hidden partitions, too"


def test_a_person_s_defaults_for_slurm_s_programs_hide_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text('#!/bin/sh\necho "1_0|$SQUEUE_STATES$SCANCEL_CTLD|$SLURM_CONF|n"\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("SQUEUE_STATES", "SCANCEL_CTLD", "SLURM_CONF"):
        monkeypatch.setenv(name, "set")
    assert controller.queue((1,), "n") == {"1_0": ("", "set")}


@pytest.mark.parametrize("accounting", [True, False])
def test_tasks_that_slurm_names_together_are_all_known(
    monkeypatch: pytest.MonkeyPatch, accounting: bool
) -> None:
    """They counted as forgotten, so that `retry-failed` ran a colleague's pending jobs again."""
    sacct = "7_[2-4,9%64]|PENDING|0:0|ssah-a b\n7_1|FAILED|1:0|ssah-a b\n7_5|RUNNING|0:0|other\n"
    shown = (
        "JobId=7 ArrayJobId=7 ArrayTaskId=2-4,9%64 JobName=ssah-a b JobState=PENDING ExitCode=0:0\n"
        "JobId=8 ArrayJobId=7 ArrayTaskId=1 JobName=ssah-a b JobState=FAILED ExitCode=1:0\n"
        "JobId=9 ArrayJobId=7 ArrayTaskId=5 JobName=ssah-a JobState=RUNNING ExitCode=0:0\n"
    )

    def ask(program: str, *words: str) -> str:
        if program == "sacct" and not accounting:
            raise ClusterError("no accounting")
        return sacct if program == "sacct" else shown

    monkeypatch.setattr(controller, "ask", ask)
    found = controller.ended([f"7_{number}" for number in range(10)], "ssah-a b")
    waiting = dict.fromkeys(("7_2", "7_3", "7_4", "7_9"), "PENDING")
    assert found == {**waiting, "7_1": "FAILED with exit code 1"}
    assert list(controller._each("17_[1-9:4]")) == ["17_1", "17_5", "17_9"]


def test_who_submitted_a_job_decides_whether_the_queue_may_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague ran `retry-failed` in my sweep; run again by me, its jobs would run twice."""
    sweep = sweep_of(tmp_path, 2)
    under_slurm(sweep)
    asked: list[set[int]] = []

    def queue(users: list[int], name: str) -> dict[str, tuple[str, str]]:
        asked.append(set(users))
        return {}

    me = sweep.folder.stat().st_uid
    colleague = me + 7
    monkeypatch.setattr(Job, "submitted_by", lambda job: colleague if job.number else me)
    monkeypatch.setattr(controller, "queue", queue)
    monkeypatch.setattr(
        controller, "ended", lambda tickets, name: dict.fromkeys(tickets, "PENDING")
    )
    monkeypatch.setattr(controller.os, "getuid", lambda: me)
    assert [item.status for item in status_of(sweep).standings] == [FAILED, QUEUED]
    assert asked == [{me, colleague}]


def test_what_gone_jobs_printed_is_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them listed the whole folder: six minutes for ten thousand."""
    sweep = sweep_of(tmp_path, 5)
    under_slurm(sweep)
    (sweep.folder / "slurm").mkdir()
    for number in range(5):
        (sweep.folder / "slurm" / f"7_{number}_0_log.out").write_text(f"line {number}\n")
    looks: list[Path] = []

    def printed(folder: Path) -> dict[str, list[Path]]:
        looks.append(folder)
        return job_files.printed_under_slurm(folder)

    monkeypatch.setattr(status, "printed_under_slurm", printed)
    monkeypatch.setattr(controller, "queue", lambda *asked: {})
    monkeypatch.setattr(controller, "ended", lambda tickets, name: {})
    details = [item.detail for item in status_of(sweep).standings]
    assert [detail.rpartition(": ")[2] for detail in details] == [f"line {n}" for n in range(5)]
    assert looks == [sweep.folder]


def test_scancel_gets_so_many_numbers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(controller, "ask", lambda *words: asked.append(words))
    controller.cancel([f"7_{number}" for number in range(1201)])
    assert [len(words) - 1 for words in asked] == [500, 500, 201]
    assert [word for words in asked for word in words[1:]] == [f"7_{n}" for n in range(1201)]


def test_a_full_disk_keeps_no_job_from_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, 1)
    asked: list[list[str]] = []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(slurm_worker.subprocess, "run", lambda given, **_: asked.append(given))

    def full(path: Path, text: str) -> None:
        raise StoreError("full")

    monkeypatch.setattr(job_files, "write_atomically", full)
    slurm_worker.SlurmWorker(str(sweep.folder), 0, "warn", 2)._queue_again(sweep.job(0))
    assert asked == [["scontrol", "requeue", "7"]]


@pytest.mark.parametrize(("before", "status"), [(0, FAILED), (3, INTERRUPTED)])
def test_a_retried_job_may_be_queued_as_often_as_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, status: str
) -> None:
    sweep = sweep_of(tmp_path, 1)
    job = sweep.job(0)
    job.save(JobState(INTERRUPTED, attempts=14, timeouts=3))  # pre-emptions are no timeouts
    asked: list[list[str]] = []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(slurm_worker.subprocess, "run", lambda given, **_: asked.append(given))
    slurm_worker.SlurmWorker(str(sweep.folder), 0, "warn", 2, before)._queue_again(job)
    assert job.state().status == status
    assert asked == ([["scontrol", "requeue", "7"]] if status == INTERRUPTED else [])


def test_jobs_that_another_process_has_just_queued_are_not_queued_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both saw them unfinished; the second array would hide the first from `cancel`."""
    sweep = sweep_of(tmp_path, 2)
    under_slurm(sweep)
    queued: dict[str, tuple[str, str]] = {}
    monkeypatch.setattr(controller, "queue", lambda *asked: queued)
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    monkeypatch.setattr(retry_failed, "check_code", lambda *given: None)
    monkeypatch.setattr(retry_failed, "submit", lambda *given: pytest.fail("submitted twice"))

    @contextmanager
    def waited(*given: object) -> Iterator[None]:
        queued.update({"7_0": ("PENDING", "Resources"), "7_1": ("PENDING", "Resources")})
        yield

    monkeypatch.setattr(retry_failed, "held", waited)
    assert main(["retry-failed", "--root", str(tmp_path)]) == 2
    assert "Another process has just queued jobs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "sbatch: unrecognized option '--partiton=gpu'\n"
            'Try "sbatch --help" for more information\n',
            "sbatch: unrecognized option '--partiton=gpu'",
        ),
        (
            "sbatch: error: Invalid --mem specification\n\nSee the site's pages for limits.\n",
            "sbatch: error: Invalid --mem specification",
        ),
        (
            "sbatch: error: invalid partition specified: nosuch\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
        ),
        ("slurm is being served.\ncome back later.\n", "come back later"),
        ("", "failed without a word"),
    ],
)
def test_of_what_slurm_says_the_error_is_quoted_and_not_the_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, why: str
) -> None:
    program = tmp_path / "scancel"
    program.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(said)} >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ClusterError) as caught:
        controller.cancel(["7"])
    assert str(caught.value) == f"scancel: {why}"
