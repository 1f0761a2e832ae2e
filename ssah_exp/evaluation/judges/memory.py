"""Judgements already made: JSON lines in a file that is only appended to.

A line is written as soon as its judgement is there, so that a killed process loses nothing but the
questions that were under way; a line that the kill cut short is skipped by the reader.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_exp.appended import AppendedLines
from ssah_exp.digest import digest_of
from ssah_exp.evaluation.judges.base import Judgement, Verdict


@dataclass(frozen=True)
class _Known:
    """A judgement, the model that gave it as its endpoint says, and its question's length."""

    judgement: Judgement
    served: str = ""
    tokens: int | None = None


def judgements_folder(root: Path) -> Path:
    """Where the runs below ``root`` keep their judgements."""
    return root / "cache" / "judgements"


class Memory:
    """Judgements of one judge; several threads, and processes, may add to it.

    What another judge with the same settings adds to the file, e.g. an attack's judge beside the
    table's, is found as soon as it stands there.

    Args:
        settings: All that decides a judgement; judgements under other settings are never found.
        folder: Where the file goes; None remembers within the process only.

    Attributes:
        served: The models, as an endpoint names them, that gave the judgements which this process
            added or looked up.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, folder: Path | None = None
    ) -> None:
        self._settings = digest_of(dict(settings or {}))
        self.path = None if folder is None else folder / f"{self._settings[:16]}.jsonl"
        self.served: set[str] = set()
        self._lock = threading.Lock()
        self._lines = None if self.path is None else AppendedLines(self.path)
        self._known: dict[str, _Known] = {}
        self._look_up()

    def get(self, prompt: str, completion: str, at_most: int | None = None) -> Judgement | None:
        """What was said of this completion, if it was judged.

        Args:
            prompt: The request.
            completion: The answer.
            at_most: Most tokens of a question that is put now: a judgement on a longer one, by a
                judge that had room for it, is not found. None = no limit.
        """
        key = self._key(prompt, completion)
        if key not in self._known:
            self._look_up()
        known = self._known.get(key)
        if known is None or (at_most is not None and (known.tokens or 0) > at_most):
            return None
        self.served |= {known.served} - {""}
        return known.judgement

    def has_scores(self) -> bool:
        """Whether any completion was judged and not left unscored."""
        return any(item.judgement.verdict is not Verdict.UNSCORED for item in self._known.values())

    def add(
        self,
        prompt: str,
        completion: str,
        judgement: Judgement,
        served: str = "",
        tokens: int | None = None,
        **details: Any,
    ) -> None:
        """Remember a judgement.

        Args:
            prompt: The request.
            completion: The answer.
            judgement: What was said.
            served: The model that said it, as an endpoint names it.
            tokens: Length of the question, for judges that limit it.
            details: JSON values that a person may want to look up, e.g. the judge's words.

        Raises:
            StoreError: The disk is full or not writable.
        """
        key = self._key(prompt, completion)
        row = {"key": key, "verdict": judgement.verdict.value, "score": judgement.score}
        if served:
            details = {"served": served, **details}
        if tokens is not None:
            details = {"tokens": tokens, **details}
        with self._lock:
            if self._lines is not None:
                self._lines.append({**row, "reason": judgement.reason, **details})
            self._known[key] = _Known(judgement, served, tokens)
            self.served |= {served} - {""}

    def _look_up(self) -> None:
        """Take in what was added to the file since the last look."""
        if self._lines is not None:
            with self._lock:
                self._known |= _known(self._lines.news())

    def _key(self, prompt: str, completion: str) -> str:
        return digest_of({"judge": self._settings, "prompt": prompt, "completion": completion})


def _known(rows: Iterable[Any]) -> dict[str, _Known]:
    """Judgements by key."""
    known: dict[str, _Known] = {}
    for row in rows:
        try:
            score = None if row["score"] is None else float(row["score"])
            judgement = Judgement(Verdict(row["verdict"]), score, row["reason"])
            tokens = int(row["tokens"]) if "tokens" in row else None
            known[str(row["key"])] = _Known(judgement, str(row.get("served", "")), tokens)
        except (ValueError, KeyError, TypeError):
            continue  # damaged: its question is asked again
    return known
