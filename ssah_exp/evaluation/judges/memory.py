"""Judgements already made: JSON lines in a file that is only appended to.

A line is written as soon as its judgement is there, so that a killed process loses nothing but the
questions that were under way; a line it cut short is skipped by the reader.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_exp.digest import digest_of
from ssah_exp.evaluation.judges.base import Judgement, Verdict
from ssah_exp.evaluation.lines import AppendedLines


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
        self._lines = None if self.path is None else AppendedLines(self.path)
        self._known = {} if self._lines is None else _known(self._lines)

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
        with self._lock:
            if self._lines is not None:
                self._lines.append({**row, "reason": judgement.reason, **details})
            self._known[key] = judgement

    def _key(self, prompt: str, completion: str) -> str:
        return digest_of({"judge": self._settings, "prompt": prompt, "completion": completion})


def _known(lines: AppendedLines) -> dict[str, Judgement]:
    known: dict[str, Judgement] = {}
    for row in lines.read():
        try:
            score = None if row["score"] is None else float(row["score"])
            known[str(row["key"])] = Judgement(Verdict(row["verdict"]), score, row["reason"])
        except (ValueError, KeyError, TypeError):
            continue  # damaged: its question is asked again
    return known
