"""Jobs from lists: lines, grids, what the command line says, lists that an experiment chose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.records.store import RecordStore
from ssah_exp.sweeps.listing import jobs_of
from ssah_exp.sweeps.state import DONE
from ssah_exp.sweeps.status import status_of
from tests.sweeps.tiny_sweep import GROUPS, Bench

Capture = pytest.CaptureFixture[str]


def test_a_list_of_jobs(bench: Bench, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "jobs.txt"
    file.write_text("# two of them\nevaluation.confidence=0.8\n\nevaluation.confidence=0.9 # b\n")
    more = ["hydra/sweeper=list", f"hydra.sweeper.file={file}"]
    assert bench.run(*bench.arguments("-m", *more)) == 0
    levels = {
        record.config["evaluation"]["confidence"]
        for record in RecordStore(bench.root).read("table1_pruning")
    }
    assert levels == {0.8, 0.9}
    assert bench.run(*bench.arguments("-m", "hydra/sweeper=list")) == 2
    assert "The list sweeper has no jobs" in capsys.readouterr().err


def test_lines_of_a_list_are_grids_and_the_command_line_wins() -> None:
    lines = ["a=1,2 b=x # two", "", "a=3 seed=0,1"]
    assert jobs_of(["c=z"], None, lines) == [
        ["c=z", "a=1", "b=x"],
        ["c=z", "a=2", "b=x"],
        ["c=z", "a=3", "seed=0"],
        ["c=z", "a=3", "seed=1"],
    ]
    assert jobs_of(["seed=7"], None, lines[2:]) == [["seed=7", "a=3"]]
    assert jobs_of(["a=0", "b=1"], None, ["b=2"], instead_of=["a"]) == [["b=1"]]
    shared = "a=1 c=2"
    assert jobs_of(["c=9"], None, ["a=5,6", "b=2"], shared=shared) == [
        ["c=9", "a=5"],
        ["c=9", "a=6"],
        ["c=9", "a=1", "b=2"],
    ]
    with pytest.raises(ConfigError, match="is no override"):
        jobs_of([], None, ["a"])


def test_a_list_that_an_experiment_chose_wants_m(
    bench: Bench, tmp_path: Path, capsys: Capture
) -> None:
    conf = tmp_path / "conf" / "experiment"
    conf.mkdir(parents=True)
    (conf / "study.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: list\n"
        "hydra: {sweeper: {instead_of: [experiment], "
        "jobs: ['experiment=tiny evaluation.confidence=0.8,0.9']}}\n"
    )
    shutil.copy(bench.place / "conf" / "experiment" / "tiny.yaml", conf / "tiny.yaml")
    for group in GROUPS:
        shutil.copytree(bench.place / "conf" / group, tmp_path / "conf" / group)
    arguments = ["--config-dir", str(tmp_path / "conf"), "experiment=study"]
    root = [f"paths.root={bench.root}"]
    assert bench.run("run", *arguments, *root) == 2
    assert "run it with: ssah-exp run -m" in capsys.readouterr().err
    arguments[-1] = "experiment=tiny,study"
    assert bench.run("run", "-m", *arguments, *root) == 2
    said = capsys.readouterr().err
    assert "Job 1 (" in said
    assert "chose is a list of jobs" in said
    arguments[-1] = "experiment=study"
    assert bench.run("run", "-m", *arguments, *root) == 0
    assert [item.status for item in status_of(bench.sweep()).standings] == [DONE] * 2
