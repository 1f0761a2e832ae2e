"""Reading the cache beside others: what they mend meanwhile, and what may not be read or mended."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from pathlib import Path

import pytest

from ssah_exp import cache as caching
from ssah_exp.cache import Cache, Entry
from ssah_exp.digest import digest_file
from ssah_exp.errors import StoreError

RUNS: list[str] = []


@pytest.fixture(autouse=True)
def _none_yet() -> None:
    RUNS.clear()


def stage(folder: Path) -> None:
    RUNS.append(folder.name)
    (folder / "a.txt").write_text("content")


def ask(root: Path) -> Entry:
    return Cache(root).get_or_compute("stage", {"key": 0}, stage)


@pytest.fixture
def damaged(tmp_path: Path) -> Entry:
    entry = ask(tmp_path)
    (entry.folder / "a.txt").write_text("damaged")
    return entry


def test_what_another_mended_while_this_one_was_reading_stays(
    tmp_path: Path, damaged: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the checksum of the damaged file in hand when the other publishes a whole entry."""
    with monkeypatch.context() as patch:

        def read_slowly(path: Path) -> str:
            found = digest_file(path)
            patch.undo()
            with pytest.warns(UserWarning, match="is damaged"):
                ask(tmp_path)
            return found

        patch.setattr(caching, "digest_file", read_slowly)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mine = ask(tmp_path)
    assert mine.cached
    assert mine.digest == damaged.digest
    assert len(RUNS) == 2, "made once, mended once"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_an_entry_that_vanishes_while_it_is_read_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    entry = ask(tmp_path)
    with monkeypatch.context() as patch:

        def vanish(path: Path) -> str:
            patch.undo()
            shutil.rmtree(entry.folder)
            raise OSError(number, os.strerror(number), str(path))

        patch.setattr(caching, "digest_file", vanish)
        assert not ask(tmp_path).cached
    assert len(RUNS) == 2


def test_a_damaged_entry_of_a_read_only_cache_is_one_clear_error(
    tmp_path: Path, damaged: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    for name in ("rename", "mkdir", "unlink", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(StoreError, match="read-only"):
        ask(tmp_path)


def test_an_entry_that_may_not_be_read_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ask(tmp_path)

    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(caching, "digest_file", refuse)
    with pytest.raises(StoreError, match=r"cannot be read: Permission denied \(.*a\.txt\)"):
        ask(tmp_path)
    with pytest.raises(StoreError, match="cannot be read"):
        Cache(tmp_path).find("stage", entry.key)


@pytest.mark.parametrize("key", ["", ".", "..", "../stage/{}", "x/../{}", "{}/", "{root}/stage/{}"])
def test_a_key_that_is_a_path_finds_nothing(tmp_path: Path, key: str) -> None:
    entry = ask(tmp_path)
    with pytest.raises(StoreError, match="is no key of a cache entry"):
        Cache(tmp_path).find("stage", key.format(entry.key, root=tmp_path))


@pytest.mark.parametrize("file", ["/elsewhere/model.safetensors", "models/mine/model.safetensors"])
@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EACCES, "forbidden"), (errno.ENOSPC, "disk is full")]
)
def test_a_stage_that_fails_over_another_file_names_that(
    tmp_path: Path, number: int, reason: str, file: str
) -> None:
    """To free space below paths.root, or to move it, would help nobody."""

    def read(folder: Path) -> None:
        raise OSError(number, os.strerror(number), file)

    with pytest.raises(StoreError, match=f"^Cannot use {file}, .*{reason}"):
        Cache(tmp_path).get_or_compute("stage", {"key": 0}, read)


def test_a_stage_that_fails_over_its_own_file_names_the_entry(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "weights"))

    with pytest.raises(StoreError, match=f"^Cannot write {tmp_path}.* set paths.root"):
        Cache(tmp_path).get_or_compute("stage", {"key": 0}, write)
