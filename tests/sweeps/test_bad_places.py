"""What changes or refuses under a sweep: conf/ under queued jobs, a cluster that takes none."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.records.store import RecordStore
from ssah_exp.sweeps.finding import sweeps_below
from ssah_exp.sweeps.state import DONE, FAILED
from tests.sweeps.tiny_sweep import Bench

Capture = pytest.CaptureFixture[str]
REFUSING = """#!/bin/sh
echo "sbatch: error: invalid partition specified: nosuch" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
exit 1
"""


def test_conf_that_is_edited_or_gone_changes_no_queued_job(bench: Bench, capsys: Capture) -> None:
    assert bench.run(*bench.arguments("-m", "evaluation.confidence=0.83")) == 0
    job = bench.sweep().job(0)
    store = RecordStore(bench.root)
    ids = [record.run_id for record in store.read("table1_pruning")]
    job.save(job.state().changed(status=FAILED))
    conf, aside = bench.place / "conf", bench.place / "conf-aside"
    shutil.move(conf, aside)
    try:
        (conf / "units").mkdir(parents=True)
        (conf / "units" / "tiny.yaml").write_text("samples: -1\n")
        assert bench.run("retry-failed", "--root", str(bench.root)) == 0
    finally:
        shutil.rmtree(conf)
        shutil.move(aside, conf)
    assert job.state().status == DONE
    assert [record.run_id for record in store.read("table1_pruning")] == ids


def test_a_cluster_that_refuses_the_jobs_is_said_and_they_stay(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pytest.importorskip("submitit")
    for name in ("sbatch", "squeue", "sacct", "scontrol", "srun"):
        (tmp_path / name).write_text(REFUSING)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    slurm = ["-m", "hydra/launcher=slurm", "hydra.launcher.partition=nosuch"]
    assert bench.run(*bench.arguments(*slurm, "evaluation.confidence=0.81,0.82")) == 2
    said = capsys.readouterr().err
    assert "Slurm did not take 2 jobs" in said
    assert "nvalid partition" in said
    assert "Traceback" not in said
    assert [job.config().evaluation.confidence for job in bench.sweep().jobs()] == [0.81, 0.82]

    job = bench.sweep().job(0)
    job.save(job.state().changed(status=FAILED, error="Llama-2 is gated; set HF_TOKEN"))
    job.cancel()
    assert bench.run("retry-failed", "--root", str(bench.root)) == 2
    assert (job.state().status, job.state().error) == (FAILED, "Llama-2 is gated; set HF_TOKEN")
    assert job.cancelled, "what was said of it stays until Slurm has taken it"


def test_a_sweep_without_the_package_for_slurm_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """It was refused only once all of its jobs were written down."""
    there = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "submitit" else there(name, package)

    monkeypatch.setattr("ssah_exp.sweeps.slurm.find_spec", without)
    given = [f"paths.root={tmp_path / 'root'}", "tracker=none", "seed=0,1"]
    assert main(["run", "-m", "hydra/launcher=slurm", *given]) == 2
    said = capsys.readouterr().err
    assert said == "ssah-exp: submitit is missing: pip install 'ssah-exp[slurm]'\n"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path, capsys: Capture) -> None:
    """Hydra's own sweeper writes there before any launcher is asked."""
    (tmp_path / "sweeps").touch()
    assert main(["run", "-m", f"paths.root={tmp_path}", "seed=0,1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ssah-exp: Cannot write {tmp_path / 'sweeps'}")
    assert "a file lies where a folder is needed" in said


@pytest.mark.parametrize("there", [False, True])
def test_a_grid_that_is_refused_leaves_no_folder(
    there: bool, tmp_path: Path, capsys: Capture
) -> None:
    """Hydra's own sweeper writes its config there first; a folder of the user's stays theirs."""
    place = tmp_path / "mine"
    if there:
        place.mkdir()
    given = ["units.budgets.scu=2,3", f"hydra.sweep.dir={place}", f"paths.root={tmp_path}"]
    assert main(["run", "-m", *given]) == 2
    assert "lies outside [0, 1]" in capsys.readouterr().err
    assert place.exists() == there


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["hydra.sweeper.metric=x", "hydra.sweeper.arm=y"], "Nothing to search over"),
        (["units.budgets.scu=interval(0.1,0.2)"], "hydra.sweeper.metric is missing"),
        (
            ["hydra.sweeper.metric=x", "hydra.sweeper.arm=y", "units.budgets.scu=interval(2,3)"],
            "lies outside [0, 1]",
        ),
        (
            ["hydra.sweeper.metric=x", "hydra.sweeper.arm=y", "units.budgets.scu=interval(2,1)"],
            "units.budgets.scu: ",
        ),
    ],
)
def test_a_search_that_is_refused_leaves_no_folder(
    tmp_path: Path, capsys: Capture, given: list[str], why: str
) -> None:
    pytest.importorskip("optuna")
    assert main(["run", "-m", f"paths.root={tmp_path}", "hydra/sweeper=optuna", *given]) == 2
    assert why in capsys.readouterr().err
    assert list((tmp_path / "sweeps").iterdir()) == []


def test_a_root_in_the_home_folder_leaves_no_folder_that_is_called_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra's sweeper made one where the command was given; ``rm -r ~`` is no way to clear it."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    monkeypatch.setattr(
        "ssah_exp.sweeps.batch.run_here", lambda sweep, jobs, say: [job.state() for job in jobs]
    )
    assert main(["run", "-m", 'paths.root="~/root"', "tracker=none", "seed=0,1"]) == 1
    assert list(here.iterdir()) == []
    (sweep,) = sweeps_below(home / "root")
    assert (sweep.folder / "multirun.yaml").is_file()
    assert len(sweep.jobs()) == 2
