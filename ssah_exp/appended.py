"""JSON lines in a file that is only appended to: a killed process loses no finished work."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ssah_exp.errors import StoreError
from ssah_exp.storage import storage_errors


class AppendedLines:
    """Rows of one file; several threads, and processes, may add to it.

    Each row is written in one system call. A line that a kill cut short is skipped by the reader.

    Args:
        path: The file; it and its folder are made by the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = 0  # bytes that `news` has handed on
        self._lock = threading.Lock()

    def read(self) -> Iterator[Any]:
        """Every whole row."""
        if self.path.is_file():
            yield from _rows(self.path.read_bytes())

    def news(self) -> Iterator[Any]:
        """Every whole row that this method has not yet handed on, whoever added it.

        So two objects on one file, in one process or in several, learn what the other added.
        """
        yield from _rows(self._new_bytes())

    def _new_bytes(self) -> bytes:
        """What is new up to the last line end; after that, somebody may still be writing."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._seen:  # a shorter file has taken its place
            self._seen = 0
        if size == self._seen:
            return b""
        with self.path.open("rb") as stream:
            stream.seek(self._seen)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._seen += len(whole)
        return whole

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row.

        Raises:
            StoreError: The disk is full or not writable.
        """
        line = f"{json.dumps(dict(row))}\n".encode()
        with self._lock, storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as stream:
                content = b"\n" + line if _ends_within_a_line(self.path) else line
                if stream.write(content) < len(content):
                    raise StoreError(
                        f"Cannot write {self.path}: the disk is full, and its last row was cut "
                        "short, which readers skip. Make room and run the command again."
                    )


def _rows(content: bytes) -> Iterator[Any]:
    """The rows of all whole lines; a line that was cut short holds none."""
    for line in content.decode("utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _ends_within_a_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
