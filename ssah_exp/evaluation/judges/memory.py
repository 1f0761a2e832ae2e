"""Judgements already made: JSON lines in a file that is only appended to.

A line is written as soon as its judgement is there, in one system call, so that a killed process
loses nothing but the questions that were under way; a line it cut short is skipped by the reader.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_exp.cache import digest_of, storage_errors
from ssah_exp.evaluation.judges.base import Judgement, Verdict


def judgements_folder(root: Path) -> Path:
    """Where the runs below ``root`` keep their judgements."""
    return root / "cache" / "judgements"


class Memory:
    """Judgements of one judge; several threads, and processes, may add to it.

    Args:
        settings: All that decides a judgement; another value never finds these judgements.
        folder: Where the file goes; None remembers within the process only.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, folder: Path | None = None
    ) -> None:
        self._settings = digest_of(dict(settings or {}))
        self.path = None if folder is None else folder / f"{self._settings[:16]}.jsonl"
        self._lock = threading.Lock()
        self._known = {} if self.path is None else _read(self.path)
        self._torn = self.path is not None and _ends_within_a_line(self.path)

    def get(self, prompt: str, completion: str) -> Judgement | None:
        """What was said of this completion, if it was judged."""
        return self._known.get(self._key(prompt, completion))

    def add(self, prompt: str, completion: str, judgement: Judgement, **details: Any) -> None:
        """Remember a judgement.

        Args:
            prompt: The request.
            completion: The answer.
            judgement: What was said.
            details: JSON values that a person may want to look up, e.g. the judge's words.

        Raises:
            StoreError: The disk is full or not writable.
        """
        key = self._key(prompt, completion)
        row = {"key": key, "verdict": judgement.verdict.value, "score": judgement.score}
        line = json.dumps({**row, "reason": judgement.reason, **details}) + "\n"
        with self._lock:
            if self.path is not None:
                self._append(self.path, line)
            self._known[key] = judgement

    def _append(self, path: Path, line: str) -> None:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as stream:
                stream.write(f"\n{line}".encode() if self._torn else line.encode())
        self._torn = False

    def _key(self, prompt: str, completion: str) -> str:
        return digest_of({"judge": self._settings, "prompt": prompt, "completion": completion})


def _read(path: Path) -> dict[str, Judgement]:
    known: dict[str, Judgement] = {}
    if not path.is_file():
        return known
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            score = None if row["score"] is None else float(row["score"])
            known[str(row["key"])] = Judgement(Verdict(row["verdict"]), score, row["reason"])
        except (ValueError, KeyError, TypeError):
            continue  # cut short by a kill: its question is asked again
    return known


def _ends_within_a_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
