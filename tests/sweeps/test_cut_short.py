"""A sweep whose launch was ended before its last job was written down does not pass for whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from ssah_exp.cli import main
from ssah_exp.sweeps import batch, worker
from ssah_exp.sweeps.finding import find_sweep
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import FAILED, JobState

Capture = pytest.CaptureFixture[str]


def interrupted(*_: Any) -> JobState:
    """In place of a job's work."""
    raise KeyboardInterrupt


def test_a_sweep_whose_launch_was_ended_does_not_pass_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Jobs that were not yet written down were lost without a word."""
    whole = Sweep.freeze

    def freeze(sweep: Sweep, number: int, *rest: Any) -> Job:
        if number == 2:
            raise KeyboardInterrupt
        return whole(sweep, number, *rest)

    root = ["--root", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(Sweep, "freeze", freeze)
        run = ["run", "-m", f"paths.root={tmp_path}", "tracker=none", "seed=0,1,2,3"]
        assert main(run) == 130
    assert capsys.readouterr().err.endswith("interrupted; run the same command to go on\n")
    assert main(["status", *root]) == 0
    said = capsys.readouterr().out
    assert "2 jobs, 2 missing\nnote: Only 2 of at least 4 jobs of sweep " in said
    assert main(["retry-failed", *root]) == 2
    assert "then run the command that launched it again" in capsys.readouterr().err
    find_sweep(tmp_path, None).expect(2)
    assert main(["status", *root]) == 0
    assert "note: " not in capsys.readouterr().out


def test_a_sweep_that_is_cancelled_while_it_is_launched_is_cancelled_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Jobs written down after that ran."""
    whole = Sweep.freeze

    def freeze(sweep: Sweep, number: int, *rest: Any) -> Job:
        if number == 2:
            assert main(["cancel", "--root", str(tmp_path)]) == 0
        return whole(sweep, number, *rest)

    monkeypatch.setattr(Sweep, "freeze", freeze)
    monkeypatch.setattr(worker, "_run", interrupted)
    assert main(["run", "-m", f"paths.root={tmp_path}", "tracker=none", "seed=0,1,2,3"]) == 0
    said = capsys.readouterr().err
    assert "2 jobs cancelled\nnote: Only 2 of at least 4 jobs of sweep " in said
    assert "still being launched" in said
    assert main(["status", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(": 4 jobs, 4 cancelled\n")


def test_a_sweep_in_batches_lacks_jobs_until_the_last_is_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Ended amid the first batch, it passed for a whole sweep."""
    root = ["--root", str(tmp_path)]
    batches = ["hydra.sweeper.max_batch_size=2", "seed=0,1,2,3"]
    run = ["run", "-m", f"paths.root={tmp_path}", "tracker=none", *batches]
    with monkeypatch.context() as patch:
        patch.setattr(batch, "work", interrupted)
        assert main(run) == 130
    assert capsys.readouterr().err.endswith("interrupted; run the same command to go on\n")
    assert main(["status", *root]) == 0
    assert "2 jobs, 2 missing\nnote: Only 2 of at least 3 jobs" in capsys.readouterr().out
    assert main(["retry-failed", *root]) == 2
    monkeypatch.setattr(batch, "work", lambda *_: JobState(FAILED))
    assert main(run) == 1
    assert main(["status", *root]) == 0
    assert capsys.readouterr().out.endswith(": 4 jobs, 4 missing\n")


def test_a_sweep_that_was_ended_in_a_later_batch_lacks_jobs_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Jobs of all batches so far count, not those of the last: it would pass for a whole sweep."""
    done = iter([JobState(FAILED)] * 2)
    monkeypatch.setattr(batch, "work", lambda *_: next(done, None) or interrupted())
    run = ["run", "-m", f"paths.root={tmp_path}", "tracker=none", "hydra.sweeper.max_batch_size=2"]
    assert main([*run, "seed=0,1,2,3,4"]) == 130
    assert main(["status", "--root", str(tmp_path)]) == 0
    assert "note: Only 4 of at least 5 jobs" in capsys.readouterr().out


def test_every_job_of_a_grid_is_composed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra's own sweeper composes all of them first, to see whether they can be."""
    composed: list[list[str]] = []
    compose = ConfigLoaderImpl.load_sweep_config

    def counted(loader: Any, config: Any, overrides: list[str]) -> Any:
        composed.append(overrides)
        return compose(loader, config, overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    monkeypatch.setattr(batch, "work", lambda *_: JobState(FAILED))
    assert main(["run", "-m", f"paths.root={tmp_path}", "tracker=none", "seed=0,1,2"]) == 1
    assert [overrides[-1] for overrides in composed] == ["seed=0", "seed=1", "seed=2"]


def test_a_grid_with_a_job_that_cannot_be_composed_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(batch, "work", interrupted)
    root = [f"paths.root={tmp_path}", "tracker=none"]
    assert main(["run", "-m", *root, "seed=0,1", "evaluation.confidence=0.9,high"]) == 2
    assert "evaluation.confidence" in capsys.readouterr().err
    assert main(["run", "-m", *root, "seed=0", "units=paper,papr"]) == 2
    assert "papr" in capsys.readouterr().err
    assert main(["status", "--root", str(tmp_path)]) == 2


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_batch_that_is_not_full_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, jobs: int
) -> None:
    """Then all jobs are written down, and can be gone on with."""
    done = iter([JobState(FAILED)] * (jobs - 1))
    monkeypatch.setattr(batch, "work", lambda *_: next(done, None) or interrupted())
    seeds = ",".join(map(str, range(10, 10 + jobs)))
    run = ["run", "-m", f"paths.root={tmp_path}", "tracker=none", "hydra.sweeper.max_batch_size=2"]
    assert main([*run, f"seed={seeds}", "evaluation.confidence=0.9"]) == 130
    assert "go on: ssah-exp retry-failed" in capsys.readouterr().err


def test_a_search_that_is_interrupted_is_not_gone_on_with_job_by_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.setattr(batch, "work", interrupted)
    space = [
        "hydra.sweeper.metric=x",
        "hydra.sweeper.arm=y",
        "evaluation.confidence=interval(0.8,0.9)",
    ]
    run = ["run", "-m", f"paths.root={tmp_path}", "tracker=none", "hydra/sweeper=optuna", *space]
    assert main(run) == 130
    assert capsys.readouterr().err.endswith("interrupted; run the same command to go on\n")
    assert main(["retry-failed", "--root", str(tmp_path)]) == 2
    assert "then run the command that launched it again" in capsys.readouterr().err
    # Ended by itself, without a value, it is whole: what failed of it is run again.
    monkeypatch.setattr(batch, "work", lambda *_: JobState(FAILED))
    assert main([*run, "hydra.sweeper.trials=2"]) == 2
    assert "No trial of the search came to a value" in capsys.readouterr().err
    assert main(["retry-failed", "--root", str(tmp_path)]) == 1
    assert "2 jobs, 2 missing" in capsys.readouterr().err
