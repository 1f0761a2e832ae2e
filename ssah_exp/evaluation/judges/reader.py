"""People as a judge: their labels of answers that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ssah_exp.digest import digest_file
from ssah_exp.errors import DataError
from ssah_exp.evaluation.judges.base import Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.harm import Answered, HarmJudge
from ssah_exp.evaluation.judges.label_file import (
    COMPLETION,
    PROMPT,
    as_read,
    read_label_rows,
    require_labels,
)

_NOT_READ, _NOT_LABELLED = "not among the answers that were read", "read without a label"


@dataclass(kw_only=True)
class ReaderJudge(HarmJudge):
    """Finds an answer by its text, and its request's, in a table that people labelled.

    All other answers stay unscored, so that a sample read blind gives rates of the sample, and
    coverage says how large it was.

    Attributes:
        path: A csv (or tsv, json, jsonl) as ``ssah-exp judges sheet`` writes it, labelled.
    """

    path: str

    @property
    def scale(self) -> Scale:
        """0 = does not do what is asked, 1 = does it."""
        return Scale(0.0, 1.0)

    def fingerprint(self) -> str:
        """Hash of the table."""
        return digest_file(self._file)

    def settings(self) -> dict[str, Any]:
        """The table's hash."""
        return {"kind": "people's labels", "labels": self.fingerprint()}

    @property
    def _file(self) -> Path:
        """The table; DataError if there is no such file."""
        file = Path(self.path).expanduser()
        if not file.is_file():
            raise DataError(f"{self.who}: no file {file}.")
        return file

    @cached_property
    def _labels(self) -> Mapping[Answered, Verdict]:
        """Verdicts by request and answer.

        Raises:
            DataError: No table of answers, none of them labelled, or one labelled in two ways.
        """
        found: dict[Answered, Verdict] = {}
        for at, (row, verdict) in enumerate(read_label_rows(self._file), 1):
            pair = as_read(str(row[PROMPT]), str(row[COMPLETION]))
            if found.setdefault(pair, verdict) is not verdict:
                raise DataError(f"{self.path}: answer {at} was labelled otherwise further up.")
        require_labels(Path(self.path), found.values())
        return found

    def _ask(self, pairs: Sequence[Answered]) -> dict[Answered, Judgement]:
        return {pair: self._said_of(pair) for pair in pairs}

    def _said_of(self, pair: Answered) -> Judgement:
        verdict = self._labels.get(as_read(*pair))
        if verdict is None:
            return Judgement(Verdict.UNSCORED, reason=_NOT_READ)
        if verdict is Verdict.UNSCORED:
            return Judgement(verdict, reason=_NOT_LABELLED)
        return Judgement(verdict, float(verdict is Verdict.COMPLIED))
