"""Deleting what the cache keeps, but nothing that a process is making or has asked for since.

A run that found an entry holds no lock on it: if that is deleted before the run reads it again,
the run ends with an error, and its command, given again, makes the entry anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ssah_exp.cache import DAMAGED, LOCK, MARKER, PARTIAL, WORK, lock_of
from ssah_exp.errors import StoreError
from ssah_exp.lock import held_at_once, seems_held
from ssah_exp.owner import abandoned, work_name
from ssah_exp.storage import storage_errors

UNFINISHED = (PARTIAL, WORK, DAMAGED)


def last_use(folder: Path) -> float | None:
    """When a folder of a stage was last made, found or worked on; None if it is no such folder.

    In seconds since the epoch, by the clock of the file system.
    """
    if folder.name.startswith(UNFINISHED):
        return max(map(_changed, [folder, *below(folder)])) or None
    if folder.name.startswith("."):
        return None
    return _changed(folder / MARKER) or None


def below(folder: Path) -> Iterator[Path]:
    """Everything in a folder, at any depth; what vanishes meanwhile is left out.

    ``rglob`` raises where a running job removes a folder that it is about to look into.
    """
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in (*folders, *files))


def discard(folder: Path, used: float) -> bool:
    """Delete one of a stage's folders, unless somebody has asked for it since.

    A process that is killed over it leaves the rest under a name like that of any work in hand,
    and so it is cleared away.

    Args:
        folder: An entry, the unfinished work on one, or what a dead process left over.
        used: Its :func:`last_use` when it was decided to delete it.

    Returns:
        False if a process works on it, or it is no longer as it was.

    Raises:
        StoreError: It may not be deleted; then it is whole, unless part of it was another user's.
    """
    entry = folder.with_name(folder.name.removeprefix(PARTIAL))
    if any(map(seems_held, _locks(folder, entry))):
        return False
    _check_deletable(folder)
    with storage_errors(folder), held_at_once(lock_of(entry)) as mine:
        if not mine or last_use(folder) != used:
            return False
        work = folder.with_name(work_name())
        folder.rename(work)
        shutil.rmtree(work)
    return True


def _locks(folder: Path, entry: Path) -> list[Path]:
    """Those that a process at work in a folder holds."""
    if not entry.name.startswith("."):
        return [lock_of(entry)]
    if abandoned(folder.name):
        return []
    return list(folder.parent.glob(f"{LOCK}*"))  # the name does not say for which entry it is


def _changed(path: Path) -> float:
    """When a file or folder last changed; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _check_deletable(folder: Path) -> None:
    """Refuse, before the first file is gone, what could be deleted in part only.

    Raises:
        StoreError: A folder in it is another user's, say.
    """
    for place in (folder.parent, *(Path(within) for within, *_ in os.walk(folder))):
        if not os.access(place, os.W_OK | os.X_OK):
            raise StoreError(f"{folder} cannot be deleted: {place} may not be changed by you.")
