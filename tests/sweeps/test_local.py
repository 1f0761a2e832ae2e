"""Several jobs at once on this machine: shared out, told apart, ended together, gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from types import SimpleNamespace

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.records.store import RecordStore
from ssah_exp.sweeps import local
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.local import LocalOptions, places
from ssah_exp.sweeps.state import (
    DONE,
    FAILED,
    INTERRUPTED,
    MISSING,
    QUEUED,
    RUNNING,
    JobState,
)
from ssah_exp.sweeps.status import status_of
from tests.processes import alive, until
from tests.sweeps.tiny_sweep import Bench

TWO = ("-m", "hydra/launcher=local", "hydra.launcher.workers=2", "hydra.launcher.threads=1")
TABLE = "table1_pruning"


def running(jobs: list[Job]) -> dict[int, int]:
    """Number of every job that runs -> the process it runs in."""
    states = {job.number: job.state() for job in jobs}
    return {
        number: state.owner.pid
        for number, state in states.items()
        if state.status == RUNNING and state.owner is not None
    }


def started(bench: Bench, *overrides: str) -> tuple[subprocess.Popen[str], list[Job]]:
    """A sweep in a process of its own, once two of its jobs run."""
    process = bench.start(*bench.arguments(*TWO, *overrides))
    until(lambda: bool(list(bench.root.glob("sweeps/*/jobs/0002/job.json"))))
    jobs = bench.sweep().jobs()
    until(lambda: len(running(jobs)) == 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[1]
    return process, jobs


@pytest.mark.slow
def test_workers_share_the_jobs_and_their_results_are_those_of_one_process(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = "evaluation.confidence=0.8,0.9,0.95,0.99"
    assert bench.run(*bench.arguments(*TWO, levels)) == 0
    said = capsys.readouterr().err
    assert "4 jobs, 4 done" in said
    assert "[4/4] job" in said
    sweep = bench.sweep()
    assert sweep.plan()["launcher"] == "local"
    owners = {owner.pid for job in sweep.jobs() if (owner := job.state().owner) is not None}
    assert len(owners) == 2
    assert os.getpid() not in owners
    together = {record.run_id: record.arms for record in RecordStore(bench.root).read(TABLE)}

    alone = Bench(bench.place, bench.root.with_name("alone"))
    assert bench.run(*alone.arguments("-m", levels)) == 0
    one_by_one = {record.run_id: record.arms for record in RecordStore(alone.root).read(TABLE)}
    assert together == one_by_one


@pytest.mark.slow
def test_a_worker_that_dies_takes_one_job_with_it(bench: Bench) -> None:
    process, jobs = started(bench, "seed=11,12,13")
    # The one that began last: the other may be done before the signal comes.
    number, pid = max(running(jobs).items(), key=lambda item: jobs[item[0]].state().started or "")
    os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 1, said
    status = status_of(bench.sweep())
    assert {item.job.number for item in status.standings if item.status == FAILED} == {number}
    assert "exit code -9" in jobs[number].state().error  # type: ignore[operator]
    assert status.counts() == {DONE: 2, FAILED: 1}

    assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    assert status_of(bench.sweep()).counts() == {DONE: 3}
    assert [job.state().attempts for job in jobs].count(2) == 1


def test_no_worker_outlives_who_hands_out_the_jobs(bench: Bench) -> None:
    process, jobs = started(bench, "seed=21,22,23")
    workers = set(running(jobs).values())
    process.kill()
    process.wait(timeout=120)
    until(lambda: not any(map(alive, workers)))
    status = status_of(bench.sweep())
    assert set(status.counts()) <= {DONE, FAILED, INTERRUPTED, MISSING}
    assert status.counts().get(DONE, 0) < 3


def test_cancel_ends_the_workers(bench: Bench) -> None:
    process, jobs = started(bench, "seed=31,32,33")
    workers = set(running(jobs).values())
    assert bench.run("cancel", "--root", str(bench.root)) == 0
    process.wait(timeout=120)
    until(lambda: not any(map(alive, workers)))
    counts = status_of(bench.sweep()).counts()
    assert QUEUED not in counts
    assert RUNNING not in counts
    assert counts["cancelled"] >= 1


def deaf(connection: Connection, *_: object) -> None:
    """A worker whose job swallows TERM, and which then asks for another."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(EOFError):
        while True:
            connection.recv()
            connection.send(JobState(DONE).to_json())


def test_a_worker_that_heard_no_term_ends_after_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "serve", deaf)
    crew = local._Crew(SimpleNamespace(jobs=list), [], print, None)  # type: ignore[arg-type]
    worker = local._Worker("", None, {})
    crew._busy.append(worker)
    assert worker.give(SimpleNamespace(number=3))  # type: ignore[arg-type]
    assert worker.finished(), "it listens, and ignores TERM by now"
    began = time.monotonic()
    crew.dismiss()
    assert worker.process.exitcode == 0
    assert time.monotonic() - began < local.SECONDS_TO_END / 10


@pytest.mark.parametrize(
    ("options", "devices", "expected"),
    [
        (LocalOptions(workers=2), [], [{}, {}]),
        (LocalOptions(workers=2, gpus=0), ["0", "1"], [{"CUDA_VISIBLE_DEVICES": ""}] * 2),
        (
            LocalOptions(),
            ["4", "GPU-5"],
            [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "GPU-5"}],
        ),
        (
            LocalOptions(gpus=2),
            ["0", "1", "2", "3", "4"],
            [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}],
        ),
        (LocalOptions(workers=1), ["0", "1"], [{"CUDA_VISIBLE_DEVICES": "0"}]),
    ],
)
def test_no_two_workers_see_the_same_device(
    options: LocalOptions, devices: list[str], expected: list[dict[str, str]]
) -> None:
    found = places(options, devices, cores=16)
    threads = str(16 // len(expected))
    assert found == [
        {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **place} for place in expected
    ]


def test_threads_are_as_many_as_asked_for() -> None:
    (place,) = places(LocalOptions(workers=1, threads=3), [], cores=16)
    assert place["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "hydra.launcher.workers is needed"),
        ({"workers": 3}, "workers=3 and gpus=1 need 3 GPUs; here are 2."),
        ({"gpus": 3}, "workers=1 and gpus=3 need 3 GPUs; here are 2."),
        ({"workers": 0, "threads": -1}, "hydra.launcher.threads=-1 is below 1."),
    ],
)
def test_what_the_machine_cannot_do_is_refused(options: dict[str, int], message: str) -> None:
    devices = ["0", "1"] if options else []
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        places(LocalOptions(**options), devices, cores=4)


def test_a_wrong_option_is_one_message_before_anything_is_written(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["hydra/launcher=local", "+hydra.launcher.wokers=2", "evaluation.confidence=0.8,0.9"]
    assert bench.run(*bench.arguments("-m", *wrong)) == 2
    said = capsys.readouterr().err
    assert "Did you mean 'workers'?" in said
    assert "Traceback" not in said
    assert not (bench.root / "sweeps").exists()
