"""Writing to disk: whole files or none, and one clear error where the disk will not take them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from ssah_exp.errors import StoreError
from ssah_exp.owner import abandoned, work_name

_OWNERS_ALONE = 0o600
_ANOTHER = "choose another place (for runs and their cache: set paths.root)"
_FULL = ("the disk is full or over quota", f"free some space or {_ANOTHER}")
_FORBIDDEN = ("the place is read-only or forbidden", f"make it writable or {_ANOTHER}")
_A_FILE = ("a file lies where a folder is needed", f"move it away or {_ANOTHER}")
_A_FOLDER = ("a folder lies where a file is needed", "name a file")
_LONG = ("its name is longer than the file system takes", "choose a shorter one")
_APPEARED = ("a folder of that name has appeared meanwhile", "move it away")
_REASONS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _FORBIDDEN),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _A_FILE),
    errno.EISDIR: _A_FOLDER,
    errno.ENAMETOOLONG: _LONG,
    errno.ENOTEMPTY: _APPEARED,
}
# Characters of a name kept in that of its half-made file, and what the latter ends with; file
# systems take 255 bytes in all.
_LONGEST, _HALF_MADE = 32, ".tmp"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into one clear :class:`StoreError`.

    Args:
        path: What is being made; if a file elsewhere is the cause, the message names that one, too.

    Raises:
        StoreError: In place of such an error; any other passes through.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = _errno(error)
        if number not in _REASONS:
            raise
        reason, advice = _REASONS[number]
        if (other := _elsewhere(error, path)) is not None:
            raise StoreError(
                f"Cannot use {other}, needed for {path}: {reason} ({os.strerror(number)}). "
                "Nothing half-written was kept; mend that and run the same command again."
            ) from error
        raise StoreError(
            f"Cannot write {path}: {reason} ({os.strerror(number)}). Nothing half-written was "
            f"kept; {advice} and run the command again."
        ) from error


def _elsewhere(error: OSError | SafetensorError, path: Path) -> str | None:
    """The file that an error names; None if there is none or it lies where ``path`` does."""
    named = error.filename if isinstance(error, OSError) else None
    if not isinstance(named, str):
        return None
    file, place = Path(named).absolute(), path.absolute()
    near = file == place or place.is_relative_to(file) or file.is_relative_to(place.parent)
    return None if near else named


def _errno(error: OSError | SafetensorError) -> int:
    """The system's error number, which safetensors gives in its message only; 0 = not known."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = re.search(r"os error (\d+)", str(error))
    return int(found.group(1)) if found else 0


def way_to(there: Path, here: Path) -> str:
    """The relative path from the folder ``here`` to ``there``; both must exist.

    It is made from names alone, so that a root may be moved with all that lies below it. Only if
    that leads elsewhere are links resolved: a folder in between may be a link, and ``..`` goes up
    from where it leads.
    """
    way = os.path.relpath(there.absolute(), here.absolute())
    with suppress(OSError):
        if (here / way).samefile(there):
            return way
    return os.path.relpath(there.resolve(), here.resolve())


def check_place(folder: Path) -> None:
    """Make a folder that a library is about to write to, and check that it takes a file.

    Raises:
        StoreError: It takes none.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}"
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Refuse to write over what a person may want to keep, a link that leads nowhere included.

    Raises:
        StoreError: Something is there.
    """
    if os.path.lexists(path):
        raise StoreError(f"{path} exists already; nothing was written. Choose a new name.")


def as_umask_says(place: Path) -> None:
    """Give new files the mode that the umask asks for; safetensors lets only their owner read them.

    Args:
        place: A file, or a folder with all that lies in it; what a link leads to is not new.
    """
    if place.is_symlink():
        return
    files = [place] if place.is_file() else [item for item in place.rglob("*") if item.is_file()]
    private = [item for item in files if not item.is_symlink() and _mode(item) == _OWNERS_ALONE]
    if not private:
        return
    probe = private[0].with_name(f".{uuid.uuid4().hex}")
    probe.touch()  # the umask itself can only be read by setting it, for all threads
    usual = _mode(probe)
    probe.unlink()
    for item in private:
        item.chmod(usual)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to; what the block leaves there moves to ``path``.

    Until then, and if the block fails, a reader sees the old file or none. Half-made files that
    killed processes of this host left of ``path`` are removed.

    Raises:
        StoreError: The disk is full or not writable; the old file is untouched.
    """
    _remove_abandoned(path)
    with _moved_to(path) as temporary:
        yield temporary


@contextmanager
def _moved_to(path: Path) -> Iterator[Path]:
    temporary = _half_made(path)
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            as_umask_says(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary stream whose bytes, once safely on disk, move to ``path`` as in :func:`whole_path`.

    What killed processes left stays: such files are small, and written every few seconds.

    Raises:
        StoreError: The disk is full or not writable; the old file is untouched.
    """
    with _moved_to(path) as temporary, temporary.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``path`` once the block has ended well.

    Half-made folders that killed processes of this host left of ``path`` are removed.

    Raises:
        StoreError: The disk is full or not writable; nothing stands at ``path``.
    """
    path = path.absolute()
    _remove_abandoned(path)
    work = _half_made(path)
    try:
        with storage_errors(path):
            work.mkdir(parents=True)
            yield work
            as_umask_says(work)
            work.rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _half_made(path: Path) -> Path:
    """A hidden place beside ``path`` whose name says which process it belongs to."""
    return path.with_name(f"{_hidden(path)}{work_name()}{_HALF_MADE}")


def _hidden(path: Path) -> str:
    return f".{path.name[:_LONGEST]}"


def _remove_abandoned(path: Path) -> None:
    """Remove what dead processes of this host left half made of ``path``."""
    begin = _hidden(path)
    with suppress(OSError):  # no such folder yet, or one that may not be tidied
        for left in list(path.parent.iterdir()):
            whose = left.name.removeprefix(begin).removesuffix(_HALF_MADE)
            if left.name == f"{begin}{whose}{_HALF_MADE}" and abandoned(whose):
                _remove(left)


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old file or the whole new one.

    Raises:
        StoreError: The disk is full or not writable; the old file is untouched.
    """
    with whole_file(path) as stream:
        stream.write(text.encode("utf-8"))
