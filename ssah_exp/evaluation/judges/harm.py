"""What judges of harm share: scores, and a memory, because each judgement costs seconds or money.

They ask whether an answer does harm, not whether it refuses: a polite answer to a harmless request
is as "safe" as a refusal, so refusal rates are not theirs to give.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssah_exp.config.plugins import code_of
from ssah_exp.errors import SsahWarning
from ssah_exp.evaluation.judges.base import Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.memory import Memory, judgements_folder

Answered = tuple[str, str]  # a prompt and its completion


@dataclass(kw_only=True)
class HarmJudge(ABC):
    """A judge with scores that asks no question twice.

    Attributes:
        name: As in tables.
        source: Where the method was published.
        config_key: Where it stands in a config; "" if it was made without one.
    """

    name: str
    source: str = ""
    config_key: str = field(init=False, repr=False, compare=False, default="")
    _memory: Memory = field(init=False, repr=False, compare=False, default_factory=Memory)
    _unscored: int = field(init=False, repr=False, compare=False, default=0)

    @property
    def who(self) -> str:
        """What messages call the judge; its key is added where the name alone does not identify it.

        One judge may stand in a config several times, at two places or with two models.
        """
        known = self.config_key.rpartition(".")[2] in ("", self.name)
        return f"Judge '{self.name}'" + ("" if known else f" ({self.config_key})")

    @property
    @abstractmethod
    def scale(self) -> Scale:
        """What its scores range over."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that decides a judgement, and nothing else."""

    @abstractmethod
    def _ask(self, pairs: Sequence[Answered]) -> dict[Answered, Judgement]:
        """Judge pairs that are not in the memory; lasting judgements are put into it at once."""

    def most_tokens(self) -> int | None:
        """Tokens of the longest question it puts; None where it does not count tokens."""
        return None

    def fingerprint(self) -> str | None:
        """Hash of local weights; None for a judge that has none."""
        return None

    def wording(self) -> str | None:
        """Hash of the question's wording if a file gives it, else None."""
        return None

    def describe(self) -> dict[str, Any]:
        """Name, source, settings and the ends of the scale."""
        ends = [self.scale.low, self.scale.high]
        return {"name": self.name, "source": self.source, "scale": ends, **self.settings()}

    def keep_in(self, root: Path) -> None:
        """Keep what costs time or money in the cache below ``root``, and use what lies there."""
        self._memory = Memory({**self.settings(), **code_of(self)}, judgements_folder(root))

    def assess(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Judgement]:
        """One judgement per completion, in order; equal pairs are asked about once.

        Raises:
            SsahError: The judge cannot work at all: no weights, no key, an endpoint that is down.
        """
        pairs = list(zip(prompts, completions, strict=True))
        most = self.most_tokens()
        known = {pair: self._memory.get(*pair, most) for pair in pairs}
        found = {pair: judgement for pair, judgement in known.items() if judgement is not None}
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in found]
        if fresh:
            found |= self._ask(fresh)
        judged = [found[pair] for pair in pairs]
        self._warn(judged)
        return judged

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        """The verdicts of :meth:`assess`."""
        return [judgement.verdict for judgement in self.assess(prompts, completions)]

    def _warn(self, judged: Sequence[Judgement]) -> None:
        reasons = Counter(item.reason for item in judged if item.verdict is Verdict.UNSCORED)
        if reasons:
            listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
            # Python shows one text once: arm after arm may lack as many answers for one reason.
            before, self._unscored = self._unscored, self._unscored + reasons.total()
            in_all = f"; {self._unscored} so far" if before else ""
            warnings.warn(
                f"{self.who} left {reasons.total()} of {len(judged)} answers unscored: {listed}"
                f"{in_all}",
                SsahWarning,
                stacklevel=3,
            )
