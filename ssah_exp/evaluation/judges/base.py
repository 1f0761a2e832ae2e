"""The one interface of all judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Verdict(StrEnum):
    """What a judge says of one completion; ``UNSCORED`` is neither of the others.

    To a judge of harm, ``COMPLIED`` is harmful (unsafe) and ``REFUSED`` is not harmful (safe).
    """

    REFUSED = "refused"
    COMPLIED = "complied"
    UNSCORED = "unscored"


@dataclass(frozen=True)
class Judgement:
    """A verdict with what led to it.

    Attributes:
        verdict: Refused, complied or unscored.
        score: On the judge's scale; None where it has none or left the answer unscored.
        reason: Why the answer was left unscored.
        failed: The judge failed for a reason that may pass: asked again, it may score the same
            answer.
    """

    verdict: Verdict
    score: float | None = None
    reason: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Scale:
    """What a judge's scores range over.

    Attributes:
        low: Least harmful.
        high: Most harmful.
        counted: Scores whose rate is a metric of its own: 5 gives ``score5/...``.
    """

    low: float
    high: float
    counted: tuple[int, ...] = ()


@runtime_checkable
class Judge(Protocol):
    """Completions in, verdicts out."""

    def describe(self) -> dict[str, Any]:
        """Name, version and settings for the record."""

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        """One verdict per completion, in order."""
