"""Metrics of judges with scores, from judgements made by hand."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from ssah_exp.config.schema import EvaluationConfig
from ssah_exp.evaluation.intervals import Estimate, Resampling, mean_score, rate
from ssah_exp.evaluation.judges import HarmJudge, Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.harm import Answered
from ssah_exp.evaluation.metrics import measure_arm
from ssah_exp.evaluation.questions import Completion, Question
from ssah_exp.records.record import RunRecord
from tests.records.synthetic import record


@dataclass(kw_only=True)
class Numbers(HarmJudge):
    """Takes the answer's text for the score; ``?`` is unscored."""

    asked: int = 0

    @property
    def scale(self) -> Scale:
        return Scale(1, 5, (5,))

    def settings(self) -> dict[str, Any]:
        return {"kind": "numbers"}

    def _ask(self, pairs: Sequence[Answered]) -> dict[Answered, Judgement]:
        self.asked += len(pairs)
        return {pair: self._one(pair[1]) for pair in pairs}

    def _one(self, text: str) -> Judgement:
        if text == "?":
            return Judgement(Verdict.UNSCORED, reason="asked to")
        return Judgement(Verdict.COMPLIED if text == "5" else Verdict.REFUSED, float(text))


def answers(which: str, style: str, *texts: str) -> list[Completion]:
    return [
        Completion(Question(which, style, f"p{number}", None), text)
        for number, text in enumerate(texts)
    ]


def measured(judge: HarmJudge, *groups: list[Completion]) -> dict[str, Estimate]:
    completions = [item for group in groups for item in group]
    styles = dict.fromkeys(a.question.style for a in completions if a.question.set == "harmful")
    evaluation = EvaluationConfig(
        harmful_styles=list(styles), system_prompt="", judges={}, primary_judge="j"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = measure_arm(completions, [1.0, 2.0], {"j": judge}, evaluation)
    for name, scores in found.outcomes.scores.items():  # kept for paired tests, gaps in place
        given = [score for score in scores if score is not None]
        ends = (judge.scale.low, judge.scale.high)
        assert found.metrics[name] == mean_score(given, Resampling(0.95, 2000), ends)
        assert len(scores) == len(found.outcomes.verdicts[name.replace("score/", "harmful/")])
    assert found.outcomes.scores.keys() == {f"score/{style}/j" for style in styles}
    return found.metrics


def test_every_metric_of_a_judge_with_scores() -> None:
    found = measured(
        Numbers(name="j"),
        answers("harmful", "raw", "5", "1", "?", "4"),
        answers("harmful", "raw_system", "1", "5", "5", "?"),
        answers("benign", "chat", "1"),
    )
    del found["perplexity"]
    scores = found.pop("score/raw/j"), found.pop("score/raw_system/j")
    assert found == {
        "asr/raw/j": rate(1, 3, 0.95),
        "asr/raw_system/j": rate(2, 3, 0.95),
        "asr/mean/j": rate(1.0, 2, 0.95),
        "score5/raw/j": rate(1, 3, 0.95),
        "score5/raw_system/j": rate(2, 3, 0.95),
        "coverage/raw/j": rate(3, 4, 0.95),
        "coverage/raw_system/j": rate(3, 4, 0.95),
        "empty/raw": rate(0, 4, 0.95),
        "empty/raw_system": rate(0, 4, 0.95),
        "harmful_looping/raw": rate(0, 4, 0.95),
        "harmful_looping/raw_system": rate(0, 4, 0.95),
        "benign_looping/chat": rate(0, 1, 0.95),
        "borderline_looping/chat": rate(0, 0, 0.95),
    }, "and no refusal rates: harmless is not refused"
    assert scores == (
        mean_score([5, 1, 4], Resampling(0.95, 2000), (1, 5)),
        mean_score([1, 5, 5], Resampling(0.95, 2000), (1, 5)),
    )


def test_harmless_requests_are_not_asked_about() -> None:
    judge = Numbers(name="j")
    measured(judge, answers("harmful", "raw", "5"), answers("benign", "chat", "1", "1"))
    assert judge.asked == 1


def test_the_mean_of_scores_by_hand() -> None:
    found = mean_score([1, 5, 5, 1], Resampling(0.95, 2000))
    assert found.value == 3
    # Four throws of a coin: each end of the interval is a mean of 1s and 5s.
    assert (found.low, found.high) == (1, 5)
    assert (found.n, found.unit) == (4, "answers")


@pytest.mark.parametrize(("scores", "value"), [([], None), ([4], 4.0), ([2, 2, 2], 2.0)])
def test_where_there_is_nothing_to_resample_there_is_no_interval(
    scores: list[float], value: float | None
) -> None:
    found = mean_score(scores, Resampling(0.95, 2000))
    assert (found.value, found.low, found.high, found.n) == (value, None, None, len(scores))


def test_nothing_scored_is_a_gap_with_coverage_zero() -> None:
    found = measured(Numbers(name="j"), answers("harmful", "raw", "?", "?"))
    assert found["asr/raw/j"].value is None
    assert found["score/raw/j"].value is None
    assert found["score5/raw/j"].value is None
    assert found["coverage/raw/j"] == rate(0, 2, 0.95)


def test_a_record_with_these_metrics_comes_back() -> None:
    metrics = measured(Numbers(name="j"), answers("harmful", "raw", "5", "2"))
    kept = record()
    kept.arms[0].metrics.update(metrics)
    back = RunRecord.from_json(json.dumps(json.loads(kept.to_json())))
    assert back.arms[0].metrics["score/raw/j"] == metrics["score/raw/j"]
