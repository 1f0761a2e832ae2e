"""Content-addressed cache: an entry is a folder that is complete or does not exist.

An entry's key is a hash of everything that decides its content, so skip-if-done and resume follow
from looking it up. Files are written into a private folder beside the entry and moved into place
by one rename; ``entry.json``, which lists every file's checksum, is written last. A reader that
finds a wrong checksum discards the entry and computes it anew. Processes that want the same entry
at the same time, on any node of a shared file system, wait for the first of them, and look again
when it is their turn, so that nobody discards what another has mended meanwhile.

When an entry is found, and when a model in it is loaded, its marker gets the present time, so that
one can tell later which entries nobody has asked for in a while (:mod:`ssah_exp.pipeline.kept`).

A stage may write what computing took, which is never the same twice, into ``cost.json``. No
checksum covers that file: entries of equal content have equal digests.

If several processes work on one run (:mod:`ssah_exp.ranks`), rank 0 alone looks, writes and
discards. The others wait for it; they compute, too, only where a stage is computed together.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_exp import ranks
from ssah_exp.digest import digest_file, digest_folder, digest_of
from ssah_exp.errors import SsahWarning, StoreError
from ssah_exp.lock import held, seems_held
from ssah_exp.owner import abandoned, work_name
from ssah_exp.storage import as_umask_says, storage_errors, write_atomically

MARKER, COST = "entry.json", "cost.json"
# What folders and locks beside an entry are called: unfinished work that outlasts a kill, work in
# hand, a damaged entry on its way out.
PARTIAL, WORK, DAMAGED, LOCK = ".partial-", ".work-", ".damaged-", ".lock-"
# What a reader gets if another process discards the entry at that moment, or a path is no file.
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.EISDIR)


@dataclass(frozen=True)
class Entry:
    """One complete cache entry.

    Attributes:
        folder: Where its files lie.
        key: The content address under which it was asked for.
        stage: The stage that made it.
        digest: sha256 over its files' checksums: equal content, equal digest.
        cached: True if it was found, False if this call computed it.
        seconds: Wall time this call took, reading or computing.
    """

    folder: Path
    key: str
    stage: str
    digest: str
    cached: bool
    seconds: float

    def cost(self) -> dict[str, float]:
        """What computing it took, by name, as its stage wrote it; empty if it wrote nothing."""
        try:
            content = json.loads((self.folder / COST).read_text(encoding="utf-8"))
            return {str(name): float(value) for name, value in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):  # no reason to give up the entry
            return {}


class Cache:
    """Entries of all stages below one root folder.

    Args:
        root: The folder.
        say: Gets a line when this process has to wait for another one's entry.
    """

    def __init__(self, root: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.root = root
        self._say = say

    def get_or_compute(
        self,
        stage: str,
        key_material: Mapping[str, Any],
        compute: Callable[[Path], None],
        *,
        together: bool = False,
    ) -> Entry:
        """Return the entry for ``key_material``, running ``compute`` only if it is not there.

        Args:
            stage: Name of the folder that groups entries of one kind.
            key_material: Everything that decides the content, JSON-serialisable.
            compute: Writes the entry's files into the (empty) folder it is given.
            together: All ranks run ``compute`` side by side and exchange what they find; what
                ranks other than 0 write is thrown away. Otherwise rank 0 runs it alone.

        Raises:
            StoreError: The disk is full or not writable, or the entry may not be read.
        """
        started = time.perf_counter()
        key = _key(stage, key_material)
        folder = self.root / stage / key
        together = together and ranks.count() > 1

        def publish() -> tuple[str, bool]:
            with nullcontext() if together else ranks.alone():
                return self._publish(stage, folder, key_material, compute)

        found, cached = ranks.from_first(lambda: self._there(folder)), True
        with ExitStack() as turn:
            if found is None and together:
                found = ranks.from_first(lambda: self._at_its_turn(turn, folder))
            if found is None and together and not ranks.first():
                with tempfile.TemporaryDirectory() as scratch:
                    compute(Path(scratch))
            if found is None:
                found, cached = ranks.from_first(publish)
        return Entry(folder, key, stage, found, cached, time.perf_counter() - started)

    def _there(self, folder: Path) -> str | None:
        """The digest of a whole entry, or None.

        Whoever made it may have been killed before it removed the unfinished work, which nobody
        needs any more.
        """
        digest, _ = _found(folder)
        left = _partial_of(folder)
        if digest is not None and left.is_dir() and not seems_held(lock_of(folder)):
            shutil.rmtree(left, ignore_errors=True)
        return digest

    def _at_its_turn(self, turn: ExitStack, folder: Path) -> str | None:
        """Take the entry's lock; return the digest if another run made the entry meanwhile.

        Ranks that compute together agree on this before the first of them begins.
        """
        with storage_errors(folder):
            turn.enter_context(self._locked(folder))
            return self._verify(folder)

    def _locked(self, folder: Path) -> AbstractContextManager[None]:
        return held(lock_of(folder), f"{folder.parent.name} {folder.name}", self._say)

    def find(self, stage: str, key: str) -> Entry:
        """Look up an entry by a key that a record names; nothing is computed or discarded.

        Raises:
            StoreError: There is no such entry (any more), it is damaged or may not be read, or the
                key leads out of the stage's folder.
        """
        started = time.perf_counter()
        if key in ("", "..") or Path(key).name != key:
            raise StoreError(f"'{key}' is no key of a cache entry: it leads to another folder.")
        folder = self.root / stage / key
        digest, reason = _found(folder)
        if digest is None:
            raise StoreError(
                f"Cache entry {folder} cannot be used: {reason}. The run it belongs to makes it "
                "anew if it is started again: 'ssah-exp run' with the same overrides."
            )
        return Entry(folder, key, stage, digest, True, time.perf_counter() - started)

    def partial(self, stage: str, key_material: Mapping[str, Any]) -> Path:
        """A folder where unfinished work outlasts a kill; removed once the entry is whole.

        It may be lost at any time: nothing in it may be worth more than the time it saves.
        """
        return _partial_of(self.root / stage / _key(stage, key_material))

    def _publish(
        self,
        stage: str,
        folder: Path,
        key_material: Mapping[str, Any],
        compute: Callable[[Path], None],
    ) -> tuple[str, bool]:
        """The digest, and whether another run had made the entry meanwhile."""
        together = ranks.count() > 1  # then the caller holds the lock already
        with storage_errors(folder), nullcontext() if together else self._locked(folder):
            digest = None if together else self._verify(folder)
            cached = digest is not None
            if digest is None:
                digest = self._compute(stage, folder, key_material, compute)
            shutil.rmtree(self.partial(stage, key_material), ignore_errors=True)
        return digest, cached

    def _compute(
        self,
        stage: str,
        folder: Path,
        key_material: Mapping[str, Any],
        compute: Callable[[Path], None],
    ) -> str:
        parent = folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        work = parent / work_name()
        work.mkdir()
        try:
            compute(work)
            files = checksums(work)
            if not files:
                raise StoreError(f"Stage '{stage}' wrote nothing; this is a bug in the stage.")
            digest = digest_of(files)
            marker = {"stage": stage, "key": dict(key_material), "files": files, "digest": digest}
            write_atomically(work / MARKER, json.dumps(marker, indent=1, sort_keys=True))
            try:
                as_umask_says(work)
                work.rename(folder)
            except OSError:
                # We were taken for dead, and another process made the entry; it is as good as ours.
                other = self._verify(folder)
                if other is None:
                    raise
                return other
            return digest
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _verify(self, folder: Path) -> str | None:
        """The digest of a whole entry; None if there is none, or it is damaged and so discarded."""
        digest, reason = _inspected(folder)
        if digest is not None or not folder.is_dir():
            return digest
        warnings.warn(
            f"Cache entry {folder} is damaged ({reason}); computing it anew.",
            SsahWarning,
            stacklevel=6,
        )
        doomed = folder.with_name(f"{DAMAGED}{folder.name}-{uuid.uuid4().hex[:8]}")
        with suppress(FileNotFoundError):  # another process may have discarded it first
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return None


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file in a stage's folder, by relative path; ``cost.json`` is left out."""
    files = digest_folder(folder)
    files.pop(COST, None)
    return files


def note_use(folder: Path) -> None:
    """Note that what an entry holds is being read; nothing happens to any other folder.

    It takes the right to write its marker, which other users' entries may not give.
    """
    with suppress(OSError):
        os.utime(folder / MARKER)


def lock_of(folder: Path) -> Path:
    """Where whoever computes an entry holds its lock."""
    return folder.with_name(f"{LOCK}{folder.name}")


def _partial_of(folder: Path) -> Path:
    return folder.with_name(f"{PARTIAL}{folder.name}")


def is_key(text: str) -> bool:
    """Whether a text is of the form that keys of entries have."""
    return re.fullmatch("[0-9a-f]{24}", text) is not None


def _key(stage: str, key_material: Mapping[str, Any]) -> str:
    return digest_of({"stage": stage, **key_material})[:24]


def _found(folder: Path) -> tuple[str | None, str]:
    """As :func:`_inspected`, by somebody who will use the entry."""
    found = _inspected(folder)
    if found[0] is not None:
        note_use(folder)
    return found


def _inspected(folder: Path) -> tuple[str | None, str]:
    """The digest of a whole entry and ""; or None and what is wrong with it.

    Raises:
        StoreError: The entry may not be read.
    """
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        expected: dict[str, str] = content["files"]
        digest = str(content["digest"])
        if digest_of(expected) != digest:
            return None, "unreadable completion marker"
        for name, checksum in expected.items():
            if _digest(folder / name) != checksum:
                there = (folder / name).is_file()
                return None, f"{name} {'has another checksum' if there else 'is missing'}"
    except OSError as error:
        if error.errno in _GONE:
            there = folder.is_dir()
            return None, "no completion marker" if there else "it was deleted, as by 'cache prune'"
        raise _unreadable(folder, error) from error
    except (ValueError, KeyError, TypeError):
        return None, "unreadable completion marker"
    return digest, ""


def _digest(path: Path) -> str | None:
    try:
        return digest_file(path)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _unreadable(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"Cache entry {folder} cannot be read: {os.strerror(error.errno or 0)} "
        f"({error.filename}). Make it readable, or set paths.root to another place."
    )


def _remove_abandoned(parent: Path) -> None:
    """Remove work folders of this host's processes that no longer live."""
    for work in parent.glob(f"{WORK}*"):
        if abandoned(work.name):
            shutil.rmtree(work, ignore_errors=True)
