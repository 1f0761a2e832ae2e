"""The judge of a run's MT-bench, and what it says of one arm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.config.schema import EvaluationConfig, RunConfig
from ssah_exp.config.vocabulary import MT_BENCH
from ssah_exp.digest import digest_of
from ssah_exp.evaluation.intervals import mean_score, rate
from ssah_exp.evaluation.judges import HarmJudge, Verdict, judge_of
from ssah_exp.evaluation.metrics import Measured, named_failures, resampling_of
from ssah_exp.evaluation.mt_bench.conversations import ConversationAnswers
from ssah_exp.evaluation.mt_bench.names import MT_COVERAGE, MT_MEAN, TURN_NAMES, TURNS
from ssah_exp.evaluation.outcomes import Outcomes

_RUBRIC = "ssah_exp.evaluation.mt_bench.rubric.MtBenchRubric"


def mt_bench_judge(config: RunConfig) -> HarmJudge | None:
    """The judge, with what it said in earlier runs; None if the run has no MT-bench.

    Raises:
        SsahError: The judge cannot work, or a file is wrong.
    """
    bench = config.mt_bench
    if bench.judge is None:
        return None
    files = {key: getattr(bench, key) for key in ("questions", "prompts", "references")}
    node = {**bench.judge, "rubric": {"_target_": _RUBRIC, **files}}
    judge = judge_of(node, "mt_bench.judge", Path(config.paths.root).expanduser())
    assert isinstance(judge, HarmJudge)
    return judge


def mt_bench_inputs(judge: HarmJudge | None) -> dict[str, str]:
    """Input name -> one hash of questions, judge prompts and references; empty without a judge."""
    return {} if judge is None else {"mt_bench": digest_of(judge.settings()["rubric"])}


def mt_bench_metrics(
    answers: Sequence[ConversationAnswers], judge: HarmJudge, evaluation: EvaluationConfig
) -> Measured:
    """Mean rating of each turn and of both, with the share of answers that got one.

    The mean of both is over conversations whose turns were both rated, so that its interval counts
    each conversation once.

    Args:
        answers: One arm's answers.
        judge: From :func:`mt_bench_judge`.
        evaluation: Confidence and bootstrap.

    Returns:
        The metrics; for every mean among them, the outcomes hold the rating of each conversation,
        None = not rated.
    """
    numbers = [str(item.number) for item in answers for _ in range(TURNS)]
    said = [json.dumps(item.turns[: turn + 1]) for item in answers for turn in range(TURNS)]
    judged = judge.assess(numbers, said)
    rows = [judged[at : at + TURNS] for at in range(0, len(judged), TURNS)]

    scores: dict[str, list[float | None]] = {
        name: [row[turn].score for row in rows] for turn, name in enumerate(TURN_NAMES)
    }
    scores[MT_MEAN] = [_of_both([item.score for item in row]) for row in rows]
    metrics = {
        name: mean_score(
            [rating for rating in ratings if rating is not None],
            resampling_of(evaluation),
            ends=(judge.scale.low, judge.scale.high),
        )
        for name, ratings in scores.items()
    }
    scored = sum(item.verdict is not Verdict.UNSCORED for item in judged)
    metrics[MT_COVERAGE] = rate(scored, len(judged), evaluation.confidence, "turns")
    failed = named_failures(MT_BENCH, sum(item.failed for item in judged))
    return Measured(metrics, Outcomes(scores=scores, failed=failed))


def _of_both(turns: Sequence[float | None]) -> float | None:
    """The mean rating of a conversation; None if a turn was not rated."""
    rated = [rating for rating in turns if rating is not None]
    return sum(rated) / TURNS if len(rated) == TURNS else None
