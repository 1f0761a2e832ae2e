"""An endpoint judge that is quick to give up, and what it says of single answers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ssah_exp.evaluation.judges import EndpointJudge, Judgement, Verdict
from ssah_exp.evaluation.judges.rubrics import HexPhiRubric
from tests.evaluation.misbehaving import Act, Endpoint

KEY = "sk-very-secret-0123456789"
REFUSED, COMPLIED, UNSCORED = Verdict.REFUSED, Verdict.COMPLIED, Verdict.UNSCORED


def judge_at(server: Endpoint, folder: Path | None = None, **changes: Any) -> EndpointJudge:
    quick = {"timeout": 5.0, "attempts": 3, "backoff": 0.001, "max_wait": 0.5}
    settings = {"base_url": server.url, "model": "m", "rubric": HexPhiRubric(), **quick, **changes}
    judge = EndpointJudge(name="j", **settings)
    if folder is not None:
        judge.keep_in(folder)
    return judge


def assess(judge: EndpointJudge, *answers: str) -> list[Judgement]:
    """Judgements; that some are unscored is warned about, which the tests look at elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judge.assess([f"p {answer}" for answer in answers], answers)


def one(server: Endpoint, *acts: Act, **changes: Any) -> Judgement:
    """The judgement of one answer by a server that does these things in turn."""
    server.script["a"] = list(acts)
    return assess(judge_at(server, **changes), "a")[0]


def failed(reason: str) -> Judgement:
    """Not judged, for a reason that may pass."""
    return Judgement(UNSCORED, reason=reason, failed=True)
