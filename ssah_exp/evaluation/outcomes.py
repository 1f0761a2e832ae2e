"""What every prompt, question and text window gave, stored compactly, for paired tests."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssah_exp.evaluation.judges import Verdict

# One character per prompt, in the order of the questions.
MARKS = {Verdict.COMPLIED: "c", Verdict.REFUSED: "r", Verdict.UNSCORED: "?"}


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one arm.

    Attributes:
        verdicts: :func:`verdicts_name` -> one of :data:`MARKS` per prompt.
        losses: Mean nats per token of every text window.
        scores: Metric of a mean score -> the score of every answer or conversation; None = no
            score. Empty in records of earlier versions.
        answers: Metric of a harness task -> right and wrong of every question, by
            :func:`pack_answers`. Empty in records of earlier versions.
        failed: Judge -> number of answers on which it failed for a reason that may pass; the next
            run asks again. Judges that failed on none are not named.
        documents: Harness task -> hash of the questions that were asked. A hub may serve others
            under the same name one day, and its data has no part in the run id. Empty in records of
            earlier versions.
    """

    verdicts: dict[str, str] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    documents: dict[str, str] = field(default_factory=dict)


def verdicts_name(which: str, style: str, judge: str) -> str:
    """Key of the verdicts on one set of prompts in one style."""
    return f"{which}/{style}/{judge}"


def marks(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as a string of :data:`MARKS`, one character each."""
    return "".join(MARKS[verdict] for verdict in verdicts)


def pack_answers(answers: Sequence[int]) -> str:
    """Right (1) and wrong (0) as ``count:base64 of one bit each``.

    One character holds six questions: full sets have tens of thousands, for every arm of a record.
    """
    bits = np.packbits(np.asarray(answers, dtype=np.bool_))
    return f"{len(answers)}:{base64.b64encode(bits.tobytes()).decode('ascii')}"


def unpack_answers(packed: str) -> NDArray[np.float64]:
    """Undo :func:`pack_answers`.

    Returns:
        ``(questions,)`` float64 of 0 and 1.

    Raises:
        ValueError: Not packed answers.
    """
    count, _, bits = packed.partition(":")
    data = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    if len(data) != -(-int(count) // 8):
        raise ValueError(f"{len(data)} bytes are no {count} answers.")
    return np.unpackbits(data, count=int(count)).astype(np.float64)
