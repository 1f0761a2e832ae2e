"""What every single prompt and text window gave, compactly: what paired tests are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ssah_exp.evaluation.judges import Verdict

# One character per prompt, in the order of the questions.
MARKS = {Verdict.COMPLIED: "c", Verdict.REFUSED: "r", Verdict.UNSCORED: "?"}


@dataclass(frozen=True)
class Outcomes:
    """Of one arm.

    Attributes:
        verdicts: :func:`verdicts_name` -> one of :data:`MARKS` per prompt.
        losses: Mean nats per token of every text window.
    """

    verdicts: dict[str, str] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)


def verdicts_name(which: str, style: str, judge: str) -> str:
    """Key of the verdicts on one set of prompts in one style."""
    return f"{which}/{style}/{judge}"


def marks(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as a string."""
    return "".join(MARKS[verdict] for verdict in verdicts)
