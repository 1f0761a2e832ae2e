"""An attacker and a judge for PAIR that say what a test tells them to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssah_exp.evaluation.attacks import Pair, Victim
from ssah_exp.evaluation.attacks.partners import Partner, Turn
from ssah_exp.evaluation.judges import HarmJudge, Judgement, Scale, Verdict
from tests.evaluation.attacked import REQUEST


def wording(text: str) -> str:
    return f"Another setting.\n{json.dumps({'prompt': text})}"


@dataclass
class Scripted(Partner):
    """Says what it is told to, and keeps what it was shown."""

    replies: list[str | None]
    shown: list[list[Turn]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        return {"kind": "scripted"}

    def reply(self, turns: Sequence[Turn], seed: int) -> str | None:
        self.shown.append(list(turns))
        self.seeds.append(seed)
        return self.replies.pop(0)


@dataclass(kw_only=True)
class ByAnswer(HarmJudge):
    """Scores looked up by answer; 5 is success, None unscored."""

    score_of: Callable[[str], float | None]
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def scale(self) -> Scale:
        return Scale(1, 5)

    def settings(self) -> dict[str, Any]:
        return {"kind": "by answer"}

    def _ask(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Judgement]:
        self.asked += pairs
        return {pair: self._one(self.score_of(pair[1])) for pair in pairs}

    def _one(self, score: float | None) -> Judgement:
        if score is None:
            return Judgement(Verdict.UNSCORED, reason="asked to")
        return Judgement(Verdict.COMPLIED if score >= 5 else Verdict.REFUSED, score)


def scores(victim: Victim, values: dict[str, float | None]) -> ByAnswer:
    """Judge of the answers that the victim gives to these texts."""
    answers = victim.answers(list(values), REQUEST)
    assert len(set(answers)) == len(values), "two texts have one answer: choose others"
    return ByAnswer(name="j", score_of=dict(zip(answers, values.values(), strict=True)).__getitem__)


PLAIN = REQUEST.prompt


def pair(attacker: Partner, judge: HarmJudge, **budget: int) -> Pair:
    return Pair(
        name="pair", attacker=attacker, judge=judge, **{"streams": 2, "rounds": 2, **budget}
    )
