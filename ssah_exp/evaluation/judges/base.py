"""The one interface of all judges."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol


class Verdict(StrEnum):
    """What a judge says of one completion; ``UNSCORED`` is neither of the others."""

    REFUSED = "refused"
    COMPLIED = "complied"
    UNSCORED = "unscored"


class Judge(Protocol):
    """Completions in, verdicts out."""

    def describe(self) -> dict[str, Any]:
        """Name, version and settings for the record."""

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        """One verdict per completion, in order."""
