"""The record store: what was written is found, what is damaged is skipped aloud."""

from __future__ import annotations

import errno
import gc
import os
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.errors import StoreError
from ssah_exp.records.store import MANY, RECORD, RecordStore, read_folder, read_run
from tests.forbidden import forbid
from tests.records.synthetic import record

ARTEFACT = "table1_pruning"


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path)


def test_an_empty_store_holds_nothing(store: RecordStore) -> None:
    assert store.read(ARTEFACT) == []
    assert store.artefacts() == []


def test_several_records_are_found_oldest_first(store: RecordStore) -> None:
    for seed in (2, 0, 1):
        store.write(replace(record(seed), finished=f"2026-01-0{9 - seed}T00:00:00+00:00"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [item.seed for item in store.read(ARTEFACT)] == [2, 1, 0], "ids say otherwise"
    assert store.artefacts() == [ARTEFACT]


@pytest.mark.parametrize("many", [0, MANY])
@pytest.mark.parametrize("collecting", [True, False])
def test_reading_leaves_the_collector_as_it_was(
    store: RecordStore, collecting: bool, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssah_exp.records.store.MANY", many)
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        store.read(ARTEFACT)
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


def test_the_run_id_names_the_folder_and_a_second_write_replaces(store: RecordStore) -> None:
    path = store.write(record(3))
    assert path == store.folder(ARTEFACT, record(3).run_id) / RECORD
    store.write(record(3, status="again"))
    assert [item.status for item in store.read(ARTEFACT)] == ["again"]


def test_other_artefacts_stay_apart(store: RecordStore) -> None:
    store.write(record(0))
    store.write(record(1, artefact="other"))
    assert [item.seed for item in store.read(ARTEFACT)] == [0]
    assert store.artefacts() == ["other", ARTEFACT]


def test_a_file_that_is_no_record_is_told_by_what_it_lacks(store: RecordStore) -> None:
    store.write(record(0)).write_text('{"a": 1}')
    with pytest.warns(UserWarning, match="Not a run record: it has no 'schema'"):
        assert store.read(ARTEFACT) == []


_UNREADABLE = [b"", b'{"schema": 1', b"{}", b"\xff\xfe\x00", b"[1]", b"[" * 99_999]


@pytest.mark.parametrize("content", _UNREADABLE)
def test_an_unreadable_record_is_skipped_with_a_warning(store: RecordStore, content: bytes) -> None:
    store.write(record(0))
    path = store.write(record(1))
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="Skipping .*000000000001"):
        assert [item.seed for item in store.read(ARTEFACT)] == [0]


def test_a_run_without_a_record_is_no_run(store: RecordStore) -> None:
    store.folder(ARTEFACT, "unfinished").mkdir(parents=True)
    assert store.read(ARTEFACT) == []
    assert store.artefacts() == []


def test_a_full_disk_keeps_the_old_record(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.write(record(0, status="old"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        store.write(record(0, status="new"))
    assert [item.status for item in store.read(ARTEFACT)] == ["old"]


def test_a_run_that_two_experiments_hold_is_read_once(tmp_path: Path) -> None:
    first = replace(record(0), finished="2026-01-01T00:00:00+00:00")
    again = replace(record(0), finished="2026-01-02T00:00:00+00:00")
    for name, made in (("a", again), ("b", first), ("c", record(1))):
        place = tmp_path / name / "records" / f"{made.run_id}.json"
        place.parent.mkdir(parents=True)
        place.write_text(made.to_json(), encoding="utf-8")
    found = read_folder(tmp_path)
    assert sorted(item.seed for item in found) == [0, 1]
    assert again in found
    (tmp_path / "records").mkdir()
    with pytest.warns(UserWarning, match="Not read: .*records; name it as well"):
        assert read_folder(tmp_path) == found
    (tmp_path / "records").rmdir()
    (tmp_path / "one.json").write_text(record(2).to_json(), encoding="utf-8")
    assert sorted(item.seed for item in read_folder(tmp_path)) == [0, 1, 2]
    (tmp_path / "one.json").write_text("{}", encoding="utf-8")
    with pytest.warns(UserWarning, match="one.json"):
        assert read_folder(tmp_path) == found


def test_a_run_that_may_not_be_looked_into_is_skipped_with_a_warning(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean over fewer seeds, without a word."""
    store.write(record(0))
    store.write(record(1))
    forbid(monkeypatch, store.folder(ARTEFACT, record(1).run_id))
    with pytest.warns(UserWarning, match="Skipping .*000000000001.*Permission denied"):
        assert [item.seed for item in store.read(ARTEFACT)] == [0]
    with pytest.warns(UserWarning, match="Skipping .*000000000001.*Permission denied"):
        assert store.get(ARTEFACT, record(1).run_id) is None


def test_runs_that_may_not_be_listed_are_not_taken_for_none(
    store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(record(0))
    with monkeypatch.context() as patch:
        forbid(patch, store.runs / ARTEFACT)
        for look in (lambda: store.read(ARTEFACT), store.artefacts):
            with pytest.raises(StoreError, match=f"{ARTEFACT} cannot be read: Permission denied"):
                look()
    forbid(monkeypatch, store.runs)
    with pytest.raises(StoreError, match="runs cannot be read: Permission denied"):
        store.artefacts()


def test_record_files_that_may_not_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name / "records").mkdir(parents=True)
    (tmp_path / "a" / "records" / "0.json").write_text(record(0).to_json(), encoding="utf-8")
    (tmp_path / "a" / "records" / "0.judges").mkdir()
    with monkeypatch.context() as patch:
        forbid(patch, tmp_path / "b")
        with pytest.warns(UserWarning, match="Skipping .*b: it cannot be read: Permission denied"):
            assert len(read_folder(tmp_path)) == 1
    with monkeypatch.context() as patch:
        forbid(patch, tmp_path / "b" / "records")
        with pytest.raises(StoreError, match="b/records cannot be read: Permission denied"):
            read_folder(tmp_path)
    forbid(monkeypatch, tmp_path / "a" / "records" / "0.judges")
    with pytest.warns(UserWarning, match="Skipping what judges said later: .*Permission denied"):
        assert len(read_folder(tmp_path)) == 1


def test_a_run_s_id_alone_is_told_where_its_folder_lies(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Give a run's folder: outputs/runs/ARTEFACT/ID\.$"):
        read_run(tmp_path / "cbe083eabbfe")
    with pytest.raises(StoreError, match=r"it has no record\.json\.$"):
        read_run(tmp_path)
