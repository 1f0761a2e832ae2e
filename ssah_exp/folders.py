"""What lies in folders: listed without ``glob``, which silently skips what may not be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path, PurePath

from ssah_exp.errors import SsahWarning, StoreError

_NOTHING_THERE = (FileNotFoundError, NotADirectoryError)
# Without any of these, and no slash at its beginning, a path leads nowhere on any system.
_LEADING = ("..", "\\", ":")


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name; nothing where there is no folder.

    Raises:
        StoreError: The folder may not be read.
    """
    try:
        return sorted(folder.iterdir())
    except _NOTHING_THERE:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}.") from error


def holding(folder: Path, name: str) -> Iterator[Path]:
    """Every ``<folder>/*/<name>`` that exists; a folder that may not be read gives a warning.

    Raises:
        StoreError: ``folder`` itself may not be read.
    """
    for place in listed(folder):
        path = place / name
        try:
            path.stat()
        except _NOTHING_THERE:
            continue
        except OSError as error:
            warnings.warn(
                f"Skipping {place}: it cannot be read: {error.strerror}", SsahWarning, stacklevel=2
            )
        else:
            yield path


def leads_out(place: str) -> bool:
    """Whether a path that is to lie below some folder lies elsewhere; links are not looked at."""
    if not place.startswith("/") and not any(mark in place for mark in _LEADING):
        return False  # thousands of records name a file for each arm
    path = PurePath(place)
    return path.is_absolute() or ".." in path.parts


def own_file(path: Path, folder: Path) -> Path:
    """``path``, if it is a plain file of a folder's own; that of somebody else may link anywhere.

    The folder itself may lie behind links.

    Args:
        path: A file below ``folder``.
        folder: Whose file it is to be.

    Raises:
        StoreError: It is a link or no plain file, or a link on the way leads out of the folder.
    """
    plain = path.is_file() and not path.is_symlink()
    if not plain or not path.resolve().is_relative_to(folder.resolve()):
        raise StoreError(
            f"{path} is no plain file of {folder}: it is a link or no file at all, or a link on "
            "the way leads elsewhere. Put the file itself there, or take this away."
        )
    return path
