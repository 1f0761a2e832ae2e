"""A rank that fails ends all of them; what they were computing is not kept."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssah_exp.cache import Cache
from ssah_exp.errors import IncompleteError, RankError
from ssah_exp.pipeline.launching import run_processes
from tests.processes import alive, until


def entries(root: Path) -> list[str]:
    """Entries that a reader would find."""
    return sorted(path.name for path in (root / "cache" / "stage").glob("[!.]*"))


def start(root: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    run_processes(2, ["-m", "tests.ranks.failing", str(root), how])


@pytest.mark.parametrize("name", ["SIGKILL", pytest.param("SIGSEGV", marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.delenv("PYTHONFAULTHANDLER", raising=False)
    started = time.monotonic()
    with pytest.raises(
        RankError, match=rf"Process 1 was ended by signal {name}.*others were ended"
    ):
        start(tmp_path, name, monkeypatch)
    assert time.monotonic() - started < 50, "nobody waited for the sleeper"
    assert len(entries(tmp_path)) == 1, "what was done before is kept, what was not is not"
    first, second = ((tmp_path / f"False-{rank}").read_text() for rank in (0, 1))
    assert first == second, "both ranks saw the entry that rank 0 wrote"
    by = next((tmp_path / "cache" / "stage").glob("[!.]*/by"))
    assert by.read_text() == "0"
    fresh = Cache(tmp_path / "cache").get_or_compute(
        "stage", {"together": True}, lambda folder: (folder / "all").touch()
    )
    assert not fresh.cached
    assert not list((tmp_path / "cache" / "stage").glob(".work-*")), "the killed run's are removed"
    where = re.search(r"Segmentation fault.*failing\.py.* in compute", capfd.readouterr().err, re.S)
    assert (where is not None) == (name == "SIGSEGV"), "what a process can say of its end, it does"


@pytest.mark.slow
def test_ranks_end_with_their_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, it cannot end them: they would hold devices and locks to the run's end."""
    (place := tmp_path / "ranks").mkdir()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"place": str(place)}))
    arguments = ["-m", "tests.ranks.sleeping", str(config)]
    start = f"from ssah_exp.pipeline.launching import run_processes; run_processes(2, {arguments})"
    with subprocess.Popen([sys.executable, "-c", start]) as launcher:
        until(lambda: len(list(place.iterdir())) == 2, 120)
        launcher.kill()
    ranks = [int(path.name) for path in place.iterdir()]
    until(lambda: not any(map(alive, ranks)), 60)


@pytest.mark.slow
def test_what_one_rank_refuses_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RankError) as error:
        start(tmp_path, "refused", monkeypatch)
    assert str(error.value) == "data.text is empty."
    assert len(entries(tmp_path)) == 1


@pytest.mark.slow
def test_a_run_that_is_incomplete_did_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    with pytest.raises(IncompleteError) as error:
        run_processes(2, ["-m", "tests.ranks.incomplete", str(config)])
    assert str(error.value) == "Run 1 is incomplete."


@pytest.mark.slow
def test_runs_of_several_ranks_wait_for_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would save to the same unfinished work, and the first to end would take it away."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["-m", "tests.ranks.failing", str(tmp_path), "well"]
    start = f"from ssah_exp.pipeline.launching import run_processes; run_processes(2, {arguments})"
    runs = [subprocess.Popen([sys.executable, "-c", start]) for _ in range(3)]
    assert [run.wait(300) for run in runs] == [0, 0, 0]
    assert sorted((tmp_path / "begun").read_text()) == ["0", "1"], "one run computed it"
    assert len(entries(tmp_path)) == 2
    assert not list((tmp_path / "cache" / "stage").glob(".lock-*"))


@pytest.mark.slow
def test_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path, "well", monkeypatch)
    assert len(entries(tmp_path)) == 2
    for together in (False, True):
        first, second = ((tmp_path / f"{together}-{rank}").read_text() for rank in (0, 1))
        assert first == second
        assert first.endswith(" False")
