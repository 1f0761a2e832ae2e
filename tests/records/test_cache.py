"""The cache within one process: found, recomputed, discarded, never half there."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ssah_exp import cache as caching
from ssah_exp import owner
from ssah_exp.cache import COST, MARKER, Cache, Entry, lock_of
from ssah_exp.digest import digest_of
from ssah_exp.errors import StoreError
from ssah_exp.lock import held
from ssah_exp.storage import storage_errors, whole_file, whole_folder, whole_path, write_atomically


class Stage:
    """A stage that counts how often it ran."""

    def __init__(self, text: str = "content") -> None:
        self.text = text
        self.runs = 0

    def __call__(self, folder: Path) -> None:
        self.runs += 1
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(self.text)
        (folder / "b.txt").write_text("b")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def entry(cache: Cache) -> Entry:
    return ask(cache, Stage())


def ask(cache: Cache, stage: Callable[[Path], None], key: int = 0) -> Entry:
    return cache.get_or_compute("stage", {"key": key}, stage)


def contents(cache: Cache) -> set[str]:
    """Everything below the stage's folder, hidden leftovers too."""
    return {path.name for path in (cache.root / "stage").glob("*")}


def test_computed_once_then_found(cache: Cache) -> None:
    stage = Stage()
    first, second = ask(cache, stage), ask(cache, stage)
    assert stage.runs == 1
    assert (first.cached, second.cached) == (False, True)
    assert first.folder == second.folder
    assert first.digest == second.digest
    assert (second.folder / "deep" / "a.txt").read_text() == "content"
    assert contents(cache) == {first.key}


class Costly(Stage):
    """A stage that says what it took."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self, folder: Path) -> None:
        super().__call__(folder)
        (folder / COST).write_text(json.dumps({"seconds": self.seconds}))


def test_what_an_entry_took_is_kept_and_decides_nothing(tmp_path: Path, entry: Entry) -> None:
    one, other = (Cache(tmp_path / f"cost {seconds}") for seconds in (1, 2))
    first, second = ask(one, Costly(1)), ask(other, Costly(2))
    assert first.digest == second.digest == entry.digest
    assert (first.cost(), second.cost(), entry.cost()) == ({"seconds": 1}, {"seconds": 2}, {})
    found = ask(one, Costly(3))
    assert (found.cached, found.cost()) == (True, {"seconds": 1})
    for damaged in ("[1]", '{"seconds": null}', "{"):
        (found.folder / COST).write_text(damaged)
        assert ask(one, Costly(3)).cached
        assert found.cost() == {}
    (found.folder / COST).unlink()
    assert ask(one, Costly(3)).cached


def test_finding_gives_no_warning(cache: Cache, entry: Entry) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(cache, Stage()).cached


def test_another_key_or_stage_is_another_entry(cache: Cache, entry: Entry) -> None:
    stage = Stage()
    assert not ask(cache, stage, key=1).cached
    assert not cache.get_or_compute("other", {"key": 0}, stage).cached
    assert stage.runs == 2
    assert ask(cache, stage).folder == entry.folder


def test_equal_content_has_an_equal_digest_under_any_key(cache: Cache, entry: Entry) -> None:
    assert ask(cache, Stage(), key=1).digest == entry.digest
    assert ask(cache, Stage("other"), key=2).digest != entry.digest


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def edit_digest(path: Path) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "digest": digest_of("else")}))


@pytest.mark.parametrize(
    ("name", "harm", "reason"),
    [
        ("deep/a.txt", cut_short, "another checksum"),
        ("deep/a.txt", lambda path: path.write_text("CONTENT"), "another checksum"),
        ("deep/a.txt", Path.unlink, "is missing"),
        (MARKER, Path.unlink, "no completion marker"),
        (MARKER, cut_short, "unreadable completion marker"),
        (MARKER, lambda path: path.write_bytes(b"\xff\x00"), "unreadable completion marker"),
        (MARKER, lambda path: path.write_text("[]"), "unreadable completion marker"),
        (MARKER, edit_digest, "unreadable completion marker"),
    ],
)
def test_a_damaged_entry_is_recomputed_with_a_warning(
    cache: Cache, entry: Entry, name: str, harm: Callable[[Path], object], reason: str
) -> None:
    harm(entry.folder / name)
    stage = Stage()
    with pytest.warns(UserWarning, match=f"is damaged .*{reason}.*computing it anew"):
        again = ask(cache, stage)
    assert stage.runs == 1
    assert not again.cached
    assert again.digest == entry.digest
    assert contents(cache) == {entry.key}
    assert ask(cache, stage).cached


def test_who_was_taken_for_dead_takes_what_another_made(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other got the lock while this one slept, and was quicker."""
    others: list[Entry] = []

    def slow(folder: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(caching, "held", lambda *_: nullcontext())
            others.append(ask(cache, Stage()))
        Stage()(folder)

    mine = ask(cache, slow)
    assert not others[0].cached
    assert mine.digest == others[0].digest
    assert contents(cache) == {mine.key}


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_exception_leaves_nothing_behind(cache: Cache, error: BaseException) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise error

    with pytest.raises(type(error)):
        ask(cache, fail)
    assert contents(cache) == set()
    assert not ask(cache, Stage()).cached


def test_a_stage_that_writes_nothing_is_refused(cache: Cache) -> None:
    with pytest.raises(StoreError, match="wrote nothing"):
        ask(cache, lambda folder: None)
    assert contents(cache) == set()


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_in_a_stage_is_one_clear_error(cache: Cache) -> None:
    with pytest.raises(StoreError, match=r"disk is full .*set paths\.root"):
        ask(cache, full_disk)
    assert contents(cache) == set()


def test_a_full_disk_while_completing_keeps_no_entry(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        with pytest.raises(StoreError, match="disk is full"):
            ask(cache, Stage())
    assert contents(cache) == set()
    assert not ask(cache, Stage()).cached


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="a file lies where a folder is needed"):
        ask(Cache(tmp_path / "file"), Stage())


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "record.json"
    write_atomically(path, "first ä")
    write_atomically(path, "second")
    assert path.read_text(encoding="utf-8") == "second"
    assert [item.name for item in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, "old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, full_disk)
    with pytest.raises(StoreError, match="disk is full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


def test_a_block_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("old")

    def half() -> None:
        with whole_file(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["answers.jsonl"]


@pytest.mark.parametrize(("umask", "usual"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_weights_can_be_read_by_whom_the_umask_says(tmp_path: Path, umask: int, usual: int) -> None:
    """safetensors writes for the owner alone, and a shared root was useless to colleagues."""
    before = os.umask(umask)
    try:
        with whole_folder(tmp_path / "model") as work:
            (work / "sub").mkdir()
            save_file({"a": np.zeros(2)}, work / "sub" / "a.safetensors")
        with whole_path(tmp_path / "b.safetensors") as path:
            save_file({"b": np.zeros(2)}, path)
        entry = Cache(tmp_path).get_or_compute(
            "stage", {}, lambda folder: save_file({"c": np.zeros(2)}, folder / "c.safetensors")
        )
    finally:
        os.umask(before)
    written = [
        tmp_path / "model" / "sub" / "a.safetensors",
        tmp_path / "b.safetensors",
        entry.folder / "c.safetensors",
    ]
    assert [path.stat().st_mode & 0o777 for path in written] == [usual] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.safetensors", "model", "stage"]


def test_a_folder_appears_when_it_is_filled(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "new" / "model") as work:
        (work / "weights").write_text("all")
        assert not (tmp_path / "new" / "model").exists()

    def half() -> None:
        with whole_folder(tmp_path / "new" / "other") as work:
            (work / "weights").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["model"]
    assert (tmp_path / "new" / "model" / "weights").read_text() == "all"


def test_what_a_killed_process_left_half_made_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a whole model, hidden, for ever; that of the living and of another name stays."""
    folder, file, other = (tmp_path / name for name in ("model", "delta", "model-2"))
    begun = [whole_folder(folder)]  # kept: as soon as nobody holds it, Python tidies up
    (begun[0].__enter__() / "weights").touch()
    (lives,) = tmp_path.iterdir()
    pid = dead_pid()
    with monkeypatch.context() as killed:
        killed.setattr(os, "getpid", lambda: pid)
        begun += [whole_folder(folder), whole_path(file), whole_folder(other)]
        for making in begun[1:3]:
            making.__enter__().touch()
        others = begun[3].__enter__()
    assert len(list(tmp_path.iterdir())) == 4
    with whole_folder(folder) as work, whole_path(file) as place:
        (work / "weights").touch()
        place.touch()
    assert sorted(tmp_path.iterdir()) == sorted([folder, file, lives, others])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EDQUOT, ""), "full or over quota"),
        (OSError(errno.EFBIG, ""), "full or over quota"),
        (OSError(errno.EROFS, ""), "read-only"),
        (PermissionError(errno.EACCES, ""), "read-only"),
        (OSError(errno.ENOSPC, ""), "; free some space or choose another place .*set paths.root"),
        (OSError(errno.EROFS, ""), "; make it writable or choose another place"),
        (OSError(errno.ENOTDIR, ""), "; move it away or choose another place"),
        (IsADirectoryError(errno.EISDIR, ""), "a folder lies where a file .*; name a file and"),
        (OSError(errno.ENAMETOOLONG, ""), "longer than the file system .*; choose a shorter"),
        (OSError(errno.ENOTEMPTY, ""), "has appeared meanwhile .*; move it away and"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "disk is full"),
    ],
)
def test_storage_errors_are_told_apart(error: Exception, text: str) -> None:
    with pytest.raises(StoreError, match=text), storage_errors(Path("place")):
        raise error


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "x"), SafetensorError("header too large")]
)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors(Path("place")):
        raise error
    assert caught.value is error


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})
    assert digest_of([1, 2]) != digest_of([2, 1])


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_folders_of_dead_processes_of_this_very_place_are_abandoned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not owner.abandoned(owner.work_name()), "this process lives"
    monkeypatch.setattr(os, "getpid", dead_pid)
    assert owner.abandoned(owner.work_name())
    host, space = socket.gethostname(), owner._pid_space()
    with monkeypatch.context() as there:  # its name begins as ours does
        there.setattr(socket, "gethostname", lambda: f"{host}-1")
        elsewhere = owner.work_name()
    with monkeypatch.context() as there:  # a container that calls itself as its host does
        there.setattr(owner, "_pid_space", lambda: f"{space}7")
        contained = owner.work_name()
    with monkeypatch.context() as there:  # another machine that was given our name, too
        there.setattr(owner, "_boot", lambda: "0a1b2c3d-0000-0000-0000-000000000000")
        namesake = owner.work_name()
    assert not owner.abandoned(elsewhere)
    assert not owner.abandoned(contained)
    assert not owner.abandoned(namesake), "its process is not one of ours that died"


def test_work_of_a_host_whose_name_begins_as_ours_is_left_alone(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = socket.gethostname()
    with monkeypatch.context() as there:
        there.setattr(socket, "gethostname", lambda: f"{here}-1")
        there.setattr(os, "getpid", dead_pid)
        theirs = cache.root / "stage" / owner.work_name()
    theirs.mkdir(parents=True)
    ask(cache, Stage())
    assert theirs.is_dir()


def test_unfinished_work_does_not_outlive_its_entry(cache: Cache, entry: Entry) -> None:
    """Whoever made it was killed before it could remove that: checkpoints lay there for ever."""
    left = cache.partial("stage", {"key": 0})
    left.mkdir()
    (left / "last.ckpt").write_text("weights")
    with held(lock_of(entry.folder), "stage", print):
        assert ask(cache, Stage()).cached
        assert left.is_dir(), "somebody is at work there"
    assert ask(cache, Stage()).cached
    assert not left.exists()
