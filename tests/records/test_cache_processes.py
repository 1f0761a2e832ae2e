"""The cache across processes: killed in the middle, racing for one key, a disk that is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssah_exp.cache import Cache

PREAMBLE = """
import json, os, resource, sys, time
from pathlib import Path
from ssah_exp.cache import Cache
from ssah_exp.storage import write_atomically
from ssah_exp.errors import StoreError
root = Path(sys.argv[1])
"""

HANGING = """
def compute(folder):
    (folder / "a.txt").write_text("half")
    print("computing", flush=True)
    time.sleep(60)
Cache(root).get_or_compute("stage", {"key": 0}, compute)
"""

RACING = """
def compute(folder):
    with (root / "computing").open("a") as stream:
        stream.write("x")
    (folder / "a.txt").write_text("content")
    while not (root / "go").exists():
        time.sleep(0.005)
    (folder / "b.txt").write_text("b" * 100_000)
print("ready", flush=True)
cache = Cache(root, lambda line: print(line, flush=True))
entry = cache.get_or_compute("stage", {"key": 0}, compute)
print(json.dumps([entry.digest, entry.cached, (entry.folder / "b.txt").stat().st_size]))
"""

LIMITED = """
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
def plain(folder):
    (folder / "a.txt").write_text("x" * 100_000)
def tensors(folder):
    import numpy
    from safetensors.numpy import save_file
    save_file({"a": numpy.zeros(100_000)}, folder / "a.safetensors")
def record(folder):
    write_atomically(root / "record.json", "x" * 100_000)
try:
    Cache(root).get_or_compute("stage", {"key": 0}, globals()[sys.argv[2]])
except StoreError as error:
    print(error)
"""


def start(script: str, root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script, str(root), *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def whole(folder: Path) -> None:
    (folder / "a.txt").write_text("whole")


def test_a_killed_process_leaves_no_entry_and_its_leftovers_go(tmp_path: Path) -> None:
    process = start(HANGING, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    running = Cache(tmp_path).get_or_compute("stage", {"key": 1}, whole)
    (abandoned,) = (tmp_path / "stage").glob(".work-*")  # not touched while its process lives
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (abandoned / "a.txt").read_text() == "half"

    entry = Cache(tmp_path).get_or_compute("stage", {"key": 0}, whole)
    assert not entry.cached
    assert (entry.folder / "a.txt").read_text() == "whole"
    assert {path.name for path in (tmp_path / "stage").iterdir()} == {entry.key, running.key}


def test_processes_racing_for_one_key_compute_it_once(tmp_path: Path) -> None:
    racers = [start(RACING, tmp_path) for _ in range(4)]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        (tmp_path / "go").touch()
        said = [racer.communicate(timeout=30)[0].splitlines() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
    ends = [json.loads(lines[-1]) for lines in said]
    assert len({digest for digest, _, _ in ends}) == 1
    assert sorted(cached for _, cached, _ in ends) == [False, True, True, True]
    assert {size for _, _, size in ends} == {100_000}
    assert (tmp_path / "computing").read_text() == "x"
    (left,) = (tmp_path / "stage").iterdir()
    found = Cache(tmp_path).get_or_compute("stage", {"key": 0}, whole)
    assert found.cached
    assert (found.folder, found.digest) == (left, ends[0][0])


def test_who_waits_is_told_for_whom_and_goes_on_when_that_one_dies(tmp_path: Path) -> None:
    working = start(HANGING, tmp_path)
    assert working.stdout is not None
    assert working.stdout.readline() == "computing\n"
    waiting = start(RACING, tmp_path)
    assert waiting.stdout is not None
    try:
        assert waiting.stdout.readline() == "ready\n"
        said = waiting.stdout.readline()
        assert said.startswith(f"waiting for process {working.pid} on ")
        assert not (tmp_path / "computing").exists()
        working.kill()
        working.wait()
        (tmp_path / "go").touch()
        lines = waiting.communicate(timeout=30)[0].splitlines()
    finally:
        working.kill()
        waiting.kill()
    assert lines[0].startswith(f"process {working.pid} on ")
    assert "taking over" in lines[0]
    assert json.loads(lines[1])[1:] == [False, 100_000]


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("stage", ["plain", "tensors", "record"])
def test_a_file_the_system_refuses_to_grow(tmp_path: Path, stage: str) -> None:
    (tmp_path / "record.json").write_text("old")
    process = start(LIMITED, tmp_path, stage)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "the disk is full or over quota" in said
    assert list((tmp_path / "stage").iterdir()) == []
    assert {item.name for item in tmp_path.iterdir()} == {"stage", "record.json"}
    assert (tmp_path / "record.json").read_text() == "old"
