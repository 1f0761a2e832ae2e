"""What lies in folders; ``glob`` passes without a word over those that may not be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from ssah_exp.errors import SsahWarning, StoreError

_NOTHING_THERE = (FileNotFoundError, NotADirectoryError)


def listed(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where there is no folder.

    Raises:
        StoreError: It may not be read.
    """
    try:
        return sorted(folder.iterdir())
    except _NOTHING_THERE:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror}.") from error


def holding(folder: Path, name: str) -> Iterator[Path]:
    """``<folder>/*/<name>`` where there is one; what may not be looked into is warned of.

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
