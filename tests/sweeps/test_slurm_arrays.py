"""Jobs go to Slurm in arrays that it takes, and no number that it gives is lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssah_exp.cli import main
from ssah_exp.commands import retry_failed
from ssah_exp.errors import ClusterError, StoreError
from ssah_exp.sweeps import controller, slurm
from ssah_exp.sweeps.ending import held_back
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.slurm import SlurmOptions, submit
from ssah_exp.sweeps.slurm_worker import SlurmWorker
from ssah_exp.sweeps.state import FAILED, QUEUED, JobState
from tests.sweeps.frozen import sweep_of, under_slurm

submitit = pytest.importorskip("submitit")
Capture = pytest.CaptureFixture[str]


class Sbatch:
    """Takes arrays as submitit's executor does, and numbers them 71, 72, ..."""

    def __init__(self) -> None:
        self.arrays: list[list[int]] = []
        self.given: list[dict[str, Any]] = []
        self.refuses_from = 99
        self.meanwhile = lambda: None

    def __call__(self, **named: object) -> Sbatch:
        return self

    def update_parameters(self, **given: Any) -> None:
        self.given.append(given)

    @contextmanager
    def batch(self) -> Iterator[None]:
        if len(self.arrays) >= self.refuses_from:
            raise submitit.core.utils.FailedJobError("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        self.arrays.append([])
        yield
        self.meanwhile()

    def submit(self, worker: SlurmWorker) -> SimpleNamespace:
        self.arrays[-1].append(worker.number)
        return SimpleNamespace(job_id=f"7{len(self.arrays)}_{len(self.arrays[-1]) - 1}")


@pytest.fixture
def sbatch(monkeypatch: pytest.MonkeyPatch) -> Sbatch:
    """A cluster whose arrays have three jobs at most."""
    taker = Sbatch()
    monkeypatch.setattr(submitit, "SlurmExecutor", taker)
    monkeypatch.setattr(slurm, "need", lambda program: None)
    monkeypatch.setattr(slurm, "largest_array", lambda: 3)
    return taker


def test_a_sweep_that_is_too_large_for_an_array_becomes_several(
    tmp_path: Path, sbatch: Sbatch
) -> None:
    """Slurm refused it, and every retry of it."""
    sweep = sweep_of(tmp_path, 8)
    assert submit(sweep, sweep.jobs(), SlurmOptions(parallel=5)) == "71 and 72 and 73"
    assert sbatch.arrays == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [given["array_parallelism"] for given in sbatch.given] == [2, 2, 1], "five in all"
    assert {given["job_name"] for given in sbatch.given} == {"ssah-night"}
    assert [job.ticket() for job in sweep.jobs()] == [
        *("71_0", "71_1", "71_2", "72_0", "72_1", "72_2", "73_0", "73_1")
    ]


def test_arrays_that_would_run_more_at_once_than_was_asked_for_are_refused(
    tmp_path: Path, sbatch: Sbatch
) -> None:
    sweep = sweep_of(tmp_path, 8)
    with pytest.raises(ClusterError, match=r"--set hydra\.launcher\.parallel=3$"):
        submit(sweep, sweep.jobs(), SlurmOptions(parallel=2))
    assert sbatch.arrays == []


def test_a_folder_whose_name_would_end_a_line_of_the_script_is_refused(
    tmp_path: Path, sbatch: Sbatch
) -> None:
    sweep = sweep_of(tmp_path / "a\nb", 1)
    with pytest.raises(ClusterError, match=r"has a line break .* in its name; rename it"):
        submit(sweep, sweep.jobs(), SlurmOptions())
    assert sbatch.arrays == []


@pytest.mark.parametrize(
    ("said", "most"),
    [
        ("MaxArraySize            = 1001\nMaxJobCount = 10000\n", 1001),
        ("SlurmMaxArraySize = 5\nMaxArraySize=64\n", 64),
        ("MaxArraySize = 0\n", 1),
        ("", 1001),
    ],
)
def test_slurm_is_asked_how_many_jobs_an_array_takes(
    monkeypatch: pytest.MonkeyPatch, said: str, most: int
) -> None:
    monkeypatch.setattr(controller, "ask", lambda *words: said)
    assert controller.largest_array() == most


def test_of_a_retry_that_slurm_takes_in_part_the_rest_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sbatch: Sbatch, capsys: Capture
) -> None:
    sweep = sweep_of(tmp_path, 5)
    under_slurm(sweep)
    for job in sweep.jobs():
        job.save(JobState(FAILED, error="no"))
    monkeypatch.setattr(controller, "queue", lambda *asked: {})
    monkeypatch.setattr(controller, "ended", lambda *asked: {})
    monkeypatch.setattr(retry_failed, "check_code", lambda *given: None)
    monkeypatch.setattr(retry_failed, "checked_launcher", lambda *given: SlurmOptions())
    sbatch.refuses_from = 1
    assert main(["retry-failed", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "Slurm did not take 2 jobs: sbatch: error: QOSMaxSubmitJobPerUserLimit. They are" in said
    assert [job.state().status for job in sweep.jobs()] == [QUEUED] * 3 + [FAILED] * 2
    assert [job.ticket() for job in sweep.jobs()] == ["71_0", "71_1", "71_2", "7_3", "7_4"]


def test_ctrl_c_waits_until_slurm_s_numbers_are_written_down(
    tmp_path: Path, sbatch: Sbatch
) -> None:
    """Without them the jobs, which Slurm had, counted as never given to it, and ran twice."""
    sweep = sweep_of(tmp_path, 2)
    sbatch.meanwhile = lambda: os.kill(os.getpid(), signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test's worker ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            submit(sweep, sweep.jobs(), SlurmOptions())
    finally:
        signal.signal(signal.SIGINT, before)
    assert [job.ticket() for job in sweep.jobs()] == ["71_0", "71_1"]


def test_a_program_is_spared_as_well(tmp_path: Path) -> None:
    """Ctrl+C reaches every process of a terminal, and sbatch may have submitted already."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    script = "kill -INT $$; kill -TERM $$; echo lives"
    with held_back():
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert said.stdout == "lives\n"
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_jobs_whose_numbers_cannot_be_kept_are_named_for_scancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sbatch: Sbatch
) -> None:
    """Slurm has them, and given again they would run twice."""
    sweep = sweep_of(tmp_path, 2)

    def full(job: Job, ticket: str) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(Job, "give_ticket", full)
    with pytest.raises(StoreError, match=r"The disk is full\. But first end .* scancel 71$"):
        submit(sweep, sweep.jobs(), SlurmOptions(partition="main"))
