"""What a job of a sweep tells the run it is: which job it is, for trackers, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssah_exp.records.trackers.sweep import VARIABLE, SweepJob, job_at_work
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
