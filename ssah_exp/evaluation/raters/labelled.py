"""Answers to compare judges on: a run's completions, or a table of answers labelled by people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssah_exp.data.files import kind_of
from ssah_exp.errors import DataError
from ssah_exp.evaluation.judges import Verdict
from ssah_exp.evaluation.judges.label_file import (
    COMPLETION,
    PROMPT,
    as_text,
    read_label_rows,
)
from ssah_exp.evaluation.questions import read_completions

ALL = "all"


@dataclass(frozen=True)
class LabelledAnswers:
    """Answers with what is known about them, all lists in one order.

    Attributes:
        prompts: Requests.
        completions: Answers to them.
        parts: Which group each belongs to, e.g. ``unsafe`` or ``harmful/raw``.
        labels: What people said; None = nothing of any.
    """

    prompts: list[str]
    completions: list[str]
    parts: list[str]
    labels: list[Verdict] | None

    def groups(self) -> dict[str, list[int]]:
        """Indices of the answers in each part; if people labelled them, those of all come first."""
        everything = list(range(len(self.parts)))
        found = {} if self.labels is None else {ALL: everything}
        for part in dict.fromkeys(self.parts):
            found[part] = [index for index in everything if self.parts[index] == part]
        return found


def read_answers(path: Path) -> LabelledAnswers:
    """Read a labelled ``.csv`` or ``.tsv``, or a ``.jsonl`` of completions, by its ending.

    Raises:
        DataError: Not there, another ending, columns missing, an unknown label, or no answers.
        StoreError: Completions that cannot be read.
    """
    if not path.is_file():
        raise DataError(f"No file {path}.")
    if kind_of(path) in (".csv", ".tsv"):
        return read_labelled(path)
    if kind_of(path) != ".jsonl":
        raise DataError(
            f"{path} is neither a labelled .csv nor a .tsv, nor a .jsonl of completions."
        )
    items = read_completions(path)
    if not items:
        raise DataError(f"{path} holds no answers.")
    return LabelledAnswers(
        [item.question.prompt for item in items],
        [item.text for item in items],
        [f"{item.question.set}/{item.question.style}" for item in items],
        None,
    )


def read_labelled(path: Path) -> LabelledAnswers:
    """Read a table of labelled answers; XSTest's column ``type``, if present, gives the parts.

    XSTest calls the types of its unsafe prompts ``contrast_...``; all others are safe.

    Raises:
        DataError: See :func:`ssah_exp.evaluation.judges.label_file.read_label_rows`.
    """
    labelled = read_label_rows(path)
    rows, verdicts = [row for row, _ in labelled], [verdict for _, verdict in labelled]
    return LabelledAnswers(
        [as_text(str(row[PROMPT])) for row in rows],
        [as_text(str(row[COMPLETION])) for row in rows],
        _parts(rows),
        None if set(verdicts) <= {Verdict.UNSCORED} else verdicts,
    )


def _parts(rows: Sequence[Mapping[str, str]]) -> list[str]:
    if "type" not in rows[0]:
        return [ALL] * len(rows)
    return ["unsafe" if str(row.get("type")).startswith("contrast") else "safe" for row in rows]
