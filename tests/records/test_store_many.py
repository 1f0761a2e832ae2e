"""A store of thousands, and records of many processes at the same moment."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssah_exp.records.store import RecordStore
from tests.records.synthetic import arms, record

ARTEFACT = "table1_pruning"

WRITING = """
import os, sys
from pathlib import Path
from dataclasses import replace
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore
root, text = map(Path, sys.argv[1:3])
record = RunRecord.from_json(text.read_text())
for number in range(int(sys.argv[3])):  # forked: 32 processes that are ready within a moment
    if os.fork() == 0:
        os.read(0, 1)  # until the test closes it for all of them, or is no more
        made = replace(record, run_id=f"{number:012x}", seed=number)
        RecordStore(root).write(made)
        RecordStore(root).write(replace(record, run_id="shared", seed=number))
        os._exit(0)
print("ready", flush=True)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(int(sys.argv[3]))]
raise SystemExit(any(codes))
"""


def test_records_of_32_processes_that_finish_together_are_all_whole(tmp_path: Path) -> None:
    root, text = tmp_path / "root", tmp_path / "record.json"
    text.write_text(record().to_json())
    arguments = [sys.executable, "-c", WRITING, str(root), str(text), "32"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    found = {item.run_id: item for item in RecordStore(root).read(ARTEFACT)}
    shared = found.pop("shared")
    assert shared.seed in range(32)
    assert shared.arms == record().arms
    assert sorted(item.seed for item in found.values()) == list(range(32))
    assert all(item.arms == record().arms for item in found.values())
    assert {path.name for path in root.rglob("*") if path.is_file()} == {"record.json"}


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """As in a command; the suite freezes what it imported."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("nothing_frozen")
def test_three_thousand_records_are_read_in_two_seconds_of_computing(tmp_path: Path) -> None:
    """As large as those of Table 1: 14 arms. Process time, as other work may run beside it."""
    store = RecordStore(tmp_path)
    many = [*arms(), *arms(0.05), *arms()[:2]]
    text = record(0, run_id="RUN", arms=many).to_json()
    for number in range(3000):
        folder = store.folder(ARTEFACT, f"{number:012x}")
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text.replace('"RUN"', f'"{number:012x}"'))
    for _ in range(3):  # on a machine that is busy one of three will do
        started = time.process_time()
        records = store.read(ARTEFACT)
        seconds = time.process_time() - started
        assert len({item.run_id for item in records}) == 3000
        assert len(records[0].arms) == 14
        del records  # freeing them is no part of reading the next ones
        started = time.process_time()
        for _ in range(3000):
            json.loads(text)
        # A slow machine takes longer, but no more often than it parses JSON.
        limit = max(2.0, 4 * (time.process_time() - started))
        if seconds < limit:
            return
    raise AssertionError(f"{seconds:.2f} s, of {limit:.2f} allowed")


@pytest.mark.usefixtures("nothing_frozen")
def test_what_was_read_is_collected_like_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read records count as old at once; garbage among what existed is found all the same."""

    class Node:
        other: Node

    monkeypatch.setattr("ssah_exp.records.store.MANY", 1)
    store = RecordStore(tmp_path)
    store.write(record())
    node = Node()
    node.other = node
    found = weakref.ref(node)
    assert gc.isenabled()
    store.read(ARTEFACT)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    del node
    gc.collect()
    assert found() is None


def test_what_somebody_else_froze_stays_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssah_exp.records.store.MANY", 0)
    gc.freeze()
    before = gc.get_freeze_count()
    RecordStore(tmp_path).read(ARTEFACT)
    assert gc.get_freeze_count() > before / 2 > 0
