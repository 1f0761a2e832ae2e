"""Options of a launcher that were wrong can be given anew; what a job computes cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.cli import main
from ssah_exp.commands import retry_failed
from ssah_exp.config.schema import TrainerConfig
from ssah_exp.errors import ClusterError
from ssah_exp.sweeps import controller, slurm, slurm_worker
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.local import LocalOptions
from ssah_exp.sweeps.slurm import SlurmOptions
from ssah_exp.sweeps.state import FAILED, JobState
from tests.sweeps.frozen import sweep_of
from tests.sweeps.tiny_sweep import Bench

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options that jobs were handed out with."""
    found: list[Any] = []

    def submit(sweep: Sweep, jobs: list[Job], options: SlurmOptions) -> str:
        found.append(options)
        return "7"

    def run_at_once(
        sweep: Sweep, jobs: list[Job], options: LocalOptions, say: Any, check: str, begin: Any
    ) -> None:
        begin()
        found.append(options)

    monkeypatch.setattr(retry_failed, "submit", submit)
    monkeypatch.setattr(retry_failed, "run_at_once", run_at_once)
    monkeypatch.setattr(retry_failed, "check_code", lambda *_: None)
    monkeypatch.setattr(controller, "queue", lambda *asked: {})
    monkeypatch.setattr(controller, "ended", lambda tickets, *name: {})
    return found


def failed(root: Path, launcher: str, options: dict[str, Any]) -> Sweep:
    """A sweep of one job that failed."""
    sweep = sweep_of(root, 1)
    plan = {**sweep.plan(), "launcher": launcher, "options": options}
    (sweep.folder / "sweep.json").write_text(json.dumps(plan))
    sweep.job(0).save(JobState(FAILED, error="once"))
    return sweep


def again(root: Path, *words: str) -> int:
    return main(["retry-failed", "--root", str(root), *(f"--set={word}" for word in words)])


def test_options_of_slurm_that_were_wrong_are_given_anew_and_kept(
    tmp_path: Path, used: list[Any]
) -> None:
    """A sweep for a partition that there is not could never be submitted."""
    given = {"partition": "nope", "minutes": 5, "sbatch": {"exclude": "node7", "mem": 0}}
    sweep = failed(tmp_path, "slurm", given)
    before = sweep.plan()
    words = ["partition=gpu", "minutes=480", "setup=['module load cuda']", "sbatch.nice=10"]
    words = [f"hydra.launcher.{word}" for word in words]
    again(tmp_path, *words, "+hydra.launcher.sbatch.gres='gpu:1'", "~hydra.launcher.sbatch.mem")
    again(tmp_path)
    assert used[0] == used[1]
    assert (used[0].partition, used[0].minutes) == ("gpu", 480)
    assert used[0].setup == ["module load cuda"]
    assert used[0].sbatch == {"exclude": "node7", "nice": 10, "gres": "gpu:1"}
    after = sweep.plan()
    assert {**after, "options": None} == {**before, "options": None}
    for _ in range(2):  # one that has its default already, too
        again(tmp_path, "~hydra.launcher.partition")
    assert [options.partition for options in used[2:]] == [None, None]


def test_what_hydra_itself_was_told_at_the_launch_outlasts_it(
    tmp_path: Path, used: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are frozen with what ``hydra.searchpath`` found, and relaunched without looking there.

    No word for Hydra stands among a job's own; those for the launcher are the sweep's.
    """
    bench = Bench.made(tmp_path)
    monkeypatch.setattr(slurm, "submit", lambda sweep, jobs, options: used.append(options) or "7")
    monkeypatch.setattr(slurm, "require_submitit", lambda: None)
    found = bench.place / "found"
    (found / "levels").mkdir(parents=True)
    (found / "levels" / "high.yaml").write_text(
        "# @package evaluation\nconfidence: 0.99\n", encoding="utf-8"
    )
    words = ["hydra/launcher=slurm", "hydra.launcher.minutes=7", "+hydra.launcher.sbatch.nice=3"]
    words += [f"hydra.searchpath=[file://{found}]", "+levels=high", "seed=0,1"]
    assert bench.run(*bench.arguments("-m", *words)) == 0
    shutil.rmtree(found)
    sweep = bench.sweep()
    before = [(job.folder / "job.json").read_text() for job in sweep.jobs()]
    for job in sweep.jobs():
        job.save(JobState(FAILED, error="once"))
        assert job.config().evaluation.confidence == 0.99
        given = job.overrides() or []
        assert f"seed={job.number}" in given
        assert not [word for word in given if word.lstrip("+~").startswith("hydra")]
    again(bench.root)
    assert len(used) == 2
    assert used[0] == used[1]
    assert (used[1].minutes, used[1].sbatch) == (7, {"nice": 3})
    assert [(job.folder / "job.json").read_text() for job in sweep.jobs()] == before


def test_options_of_this_machine_are_given_anew(
    tmp_path: Path, used: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A sweep that was moved to a machine without GPUs, above all."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    failed(tmp_path, "local", {"workers": 1, "gpus": 2})
    assert again(tmp_path) == 2
    said = capsys.readouterr().err
    assert "need 2 GPUs; here are 0." in said
    assert "add --set hydra.launcher.KEY=VALUE" in said
    again(tmp_path, "hydra.launcher.gpus=0")
    again(tmp_path)
    assert used == [LocalOptions(workers=1, gpus=0)] * 2


@pytest.mark.parametrize(
    ("launcher", "word", "why"),
    [
        ("slurm", "seed=3", "the jobs are frozen"),
        ("slurm", "hydra/launcher=local", "the jobs are frozen"),
        ("slurm", "hydra.launcher.partition@elsewhere=gpu", "the jobs are frozen"),
        ("slurm", "hydra.launcher.minutes", "is no override"),
        ("slurm", "hydra.launcher.minutes=1,2", "give one value"),
        ("slurm", "hydra.launcher.minutes=0", "hydra.launcher.minutes=0 is below 1."),
        ("slurm", "hydra.launcher.partiton=gpu", "Did you mean 'partition'?"),
        ("slurm", "hydra.launcher.partition.x=gpu", "has no keys below it"),
        ("slurm", "+hydra.launcher.sbatch.array=1-3", "give hydra.launcher.parallel"),
        (
            "slurm",
            "hydra.launcher.cpus=1",
            "Job 0: trainer.devices=2: hydra.launcher.cpus=1 gives its",
        ),
        ("local", "hydra.launcher.workers=0", "hydra.launcher.workers=0 is below 1."),
        ("batch", "hydra.launcher.workers=2", "takes no hydra.launcher.workers"),
    ],
)
def test_wrong_options_are_refused_as_at_the_launch(
    tmp_path: Path,
    used: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    launcher: str,
    word: str,
    why: str,
) -> None:
    class Config:
        trainer = TrainerConfig(devices=2)

    monkeypatch.setattr(Job, "config", lambda job: Config)
    options = {"slurm": {"cpus": 2, "partition": "nope"}, "local": {"workers": 1, "gpus": 0}}
    sweep = failed(tmp_path, launcher, options.get(launcher, {}))
    before = (sweep.folder / "sweep.json").read_bytes()
    assert again(tmp_path, word) == 2
    assert why in capsys.readouterr().err
    assert used == []
    assert (sweep.folder / "sweep.json").read_bytes() == before
    assert sweep.job(0).state().error == "once"


def test_messages_name_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("submitit")
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'sbatch: error: no' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    sweep = sweep_of(tmp_path, 1)
    with pytest.raises(ClusterError, match=r"add --set hydra\.launcher\.KEY=VALUE"):
        slurm.submit(sweep, sweep.jobs(), SlurmOptions(partition="nope"))
    job = sweep.job(0)
    job.save(JobState(FAILED, timeouts=2))
    slurm_worker.SlurmWorker(str(sweep.folder), 0, "warn", 2)._queue_again(job)
    assert "retry-failed --set hydra.launcher.minutes=" in str(job.state().error)
