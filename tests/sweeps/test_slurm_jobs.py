"""What Slurm is told of a job, and what the job does when its time is up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.sweeps import slurm_worker
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import SLURM, Job
from ssah_exp.sweeps.slurm import SlurmOptions, submit
from ssah_exp.sweeps.slurm_worker import SlurmWorker
from ssah_exp.sweeps.state import DONE, FAILED, INTERRUPTED, JobState
from tests.sweeps.frozen import sweep_of


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the last job script asks sbatch for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    copy = f'#!/bin/sh\ncp "$1" {tmp_path}/script\necho Submitted batch job 71\n'
    for name, text in (("sbatch", copy), ("srun", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return lambda: (tmp_path / "script").read_text().splitlines()


def test_sbatch_gets_every_option_in_its_own_unit(
    tmp_path: Path, script: Callable[[], list[str]]
) -> None:
    pytest.importorskip("submitit")
    sweep = sweep_of(tmp_path, 2)
    options = SlurmOptions(
        **{"partition": "long", "account": "lab", "qos": "low", "constraint": "a100"},
        **{"minutes": 90, "gpus": 2, "cpus": 3, "memory_gb": 1.5, "parallel": 1},
        signal_seconds=77,
        setup=["module load cuda"],
        sbatch={"nice": 10},
    )
    assert submit(sweep, sweep.jobs(), options) == "71"
    lines = script()
    for asked in (
        *("partition=long", "account=lab", "qos=low", "constraint=a100", "time=90", "nice=10"),
        *("gpus-per-node=2", "cpus-per-task=3", "mem=1536M", "array=0-1%1", "signal=USR2@77"),
        *("requeue", "ntasks-per-node=1", "job-name=ssah-night"),
    ):
        assert f"#SBATCH --{asked}" in lines
    assert "module load cuda" in lines
    assert not any(line.startswith("#SBATCH --error") for line in lines), "one log, in order"
    submit(sweep, sweep.jobs(), SlurmOptions())
    defaults = "\n".join(script())
    for absent in ("partition", "account", "qos", "constraint", "gpus", "mem="):
        assert f"#SBATCH --{absent}" not in defaults, "what is null is the cluster's to choose"


def test_a_worker_is_handed_its_job_and_how_often_its_time_may_run_out(
    tmp_path: Path, script: Callable[[], list[str]]
) -> None:
    """Timeouts before a retry are not held against it."""
    utils = pytest.importorskip("submitit.core.utils")
    sweep = sweep_of(tmp_path, 2)
    sweep.job(1).save(JobState(FAILED, timeouts=4))
    submit(sweep, sweep.jobs(), SlurmOptions(code="warn", requeues=7))
    found = [
        utils.DelayedSubmission.load(path).function
        for path in sorted((sweep.folder / SLURM).glob("*_submitted.pkl"))
    ]
    place = str(sweep.folder)
    assert found == [SlurmWorker(place, 0, "warn", 7, 0), SlurmWorker(place, 1, "warn", 7, 4)]


def test_as_many_jobs_at_once_as_there_are_arrays_are_taken(
    tmp_path: Path, script: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal of fewer names this number."""
    pytest.importorskip("submitit")
    monkeypatch.setattr("ssah_exp.sweeps.slurm.largest_array", lambda: 1)
    sweep = sweep_of(tmp_path, 2)
    assert submit(sweep, sweep.jobs(), SlurmOptions(parallel=2)) == "71 and 71"


def test_a_job_is_told_to_save_before_its_time_limit() -> None:
    SlurmOptions(minutes=2, signal_seconds=119)
    with pytest.raises(ConfigError, match="=120 is not below the time limit of 2 minutes"):
        SlurmOptions(minutes=2, signal_seconds=120)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a job asks of Slurm, within an allocation."""
    found: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(slurm_worker.subprocess, "run", lambda given, **_: found.append(given))
    return found


def working(
    monkeypatch: pytest.MonkeyPatch, sweep: Sweep, work: Callable[[], JobState]
) -> SlurmWorker:
    """A worker of the sweep's last job that does ``work``."""

    def done(given: Sweep, job: Job, check: str) -> JobState:
        assert (given.folder, job.number, check) == (sweep.folder, 1, "warn")
        return work()

    monkeypatch.setattr(slurm_worker, "work", done)
    return SlurmWorker(str(sweep.folder), 1, "warn", 2)


@pytest.mark.parametrize("status", [DONE, FAILED, INTERRUPTED])
def test_slurm_sees_whether_a_job_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]], status: str
) -> None:
    """Its accounting, and jobs that depend on it, know no more than the exit code."""
    sweep = sweep_of(tmp_path, 2)
    worker = working(monkeypatch, sweep, lambda: JobState(status))
    if status == DONE:
        assert worker() == DONE
    else:
        with pytest.raises(SystemExit) as ended:
            worker()
        assert ended.value.code == 1
    assert asked == []


@pytest.mark.parametrize(("number", "timeouts"), [(signal.SIGUSR2, 1), (signal.SIGTERM, 0)])
def test_a_job_queues_itself_again_only_where_its_time_is_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[list[str]],
    number: signal.Signals,
    timeouts: int,
) -> None:
    """A TERM may be a cancel, after which it would run all the same."""
    sweep = sweep_of(tmp_path, 2)

    def told() -> JobState:
        os.kill(os.getpid(), number)
        return JobState(DONE)

    with pytest.raises(SystemExit) as ended:
        working(monkeypatch, sweep, told)()
    assert ended.value.code == 143
    assert asked == [["scontrol", "requeue", "7"]] * timeouts
    assert sweep.job(1).state().timeouts == timeouts, "without a count it would go on for ever"


def test_the_last_time_that_a_job_may_be_queued_counts(
    tmp_path: Path, asked: list[list[str]]
) -> None:
    job = sweep_of(tmp_path, 1).job(0)
    worker = SlurmWorker("", 0, "warn", requeues=2)
    statuses = []
    for _ in range(3):
        worker._queue_again(job)
        statuses.append((len(asked), job.state().status == FAILED))
    assert statuses == [(1, False), (2, False), (2, True)]


def test_relative_paths_of_a_job_are_read_from_where_the_sweep_was_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[list[str]]
) -> None:
    sweep = sweep_of(tmp_path, 2)
    (elsewhere := tmp_path / "node").mkdir()
    os.chdir(elsewhere)
    places: list[Path] = []

    def look() -> JobState:
        places.append(Path.cwd())
        return JobState(DONE)

    working(monkeypatch, sweep, look)()
    assert places == [Path(str(sweep.plan()["cwd"]))] != [elsewhere]
