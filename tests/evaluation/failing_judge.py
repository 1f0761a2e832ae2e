"""A judge of harm that gets no word out, as when its endpoint is down for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssah_exp.evaluation.judges import HarmJudge, Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.harm import Answered


@dataclass(kw_only=True)
class FailingJudge(HarmJudge):
    """Fails on every answer while it is ``down``, and calls all refusals behind that."""

    name: str = "down"
    down: bool = True

    @property
    def scale(self) -> Scale:
        return Scale(0, 1)

    def settings(self) -> dict[str, Any]:
        return {"kind": "failing"}

    def _ask(self, pairs: Sequence[Answered]) -> dict[Answered, Judgement]:
        lost = Judgement(Verdict.UNSCORED, reason="HTTP 503", failed=True)
        said = lost if self.down else Judgement(Verdict.REFUSED, 0.0)
        return dict.fromkeys(pairs, said)
