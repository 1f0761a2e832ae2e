"""Hashes of what decides a result: values, files, folders; sha256, as hex."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_LARGE, _SETTLED_SECONDS = 1 << 20, 2.0
_HASHED: dict[tuple[int, ...], str] = {}


def digest_of(payload: Any) -> str:
    """Hash any JSON-serialisable value: sha256 over its canonical JSON, as hex."""
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Hash one file's bytes: sha256 as hex.

    A large file (1 MiB or more) that nobody touched since this process hashed it is not read
    again: the jobs of a sweep in one process ask for the same models over and over.
    """
    info = path.stat()
    # Nobody can set ``st_ctime`` back, but two changes within a moment may leave it the same.
    look = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    settled = time.time() - info.st_ctime > _SETTLED_SECONDS and info.st_size >= _LARGE
    if settled and look in _HASHED:
        return _HASHED[look]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if settled:
        _HASHED[look] = found
    return found


def digest_folder(folder: Path, without: str | None = None) -> dict[str, str]:
    """Hash every file below ``folder``: relative POSIX path -> sha256, sorted by path.

    What a link leads to counts, as it does for whoever reads the folder.

    Args:
        folder: Where to look.
        without: Name of folders whose files are left out, at any depth.
    """
    files = sorted(_files_below(folder))
    names = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): digest_file(path)
        for name, path in names.items()
        if without not in name.parts[:-1]
    }


def _files_below(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Every file in a folder, at any depth; ``rglob`` would pass over linked folders.

    Args:
        folder: Where to look.
        above: Folders that it lies in: a link back to one of them is not followed.
    """
    info = folder.stat()
    here = (info.st_dev, info.st_ino)
    if here in above:
        return
    content: list[Path] = []
    with suppress(PermissionError):
        content += folder.iterdir()
    for path in content:
        if path.is_dir():
            yield from _files_below(path, above | {here})
        elif path.is_file():
            yield path
