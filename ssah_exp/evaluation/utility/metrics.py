"""From answers to tasks to metrics with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssah_exp.config.schema import UtilityConfig
from ssah_exp.config.utility import leading_metric
from ssah_exp.evaluation.intervals import Estimate, mean_of_rates, rate
from ssah_exp.evaluation.outcomes import pack_answers
from ssah_exp.evaluation.utility.outcomes import TaskOutcomes

UTILITY_MEAN = "utility/mean"
UNIT = "questions"


def utility_name(task: str, metric: str) -> str:
    """Metric name of a task."""
    return f"utility/{task}/{metric}"


def leading_names(tasks: Sequence[str], metric: str) -> list[str]:
    """The metrics a table shows of these tasks if ``metric`` leads, with their mean last."""
    names = [utility_name(task, leading_metric(task, metric)) for task in tasks]
    return [*names, UTILITY_MEAN] if names else []


def utility_metrics(
    outcomes: Sequence[TaskOutcomes], utility: UtilityConfig, confidence: float
) -> dict[str, Estimate]:
    """Every metric of every task, and the mean of the leading ones, each task counting once.

    Args:
        outcomes: One per task.
        utility: Which metric leads, and how much of each task was run.
        confidence: Level of the intervals.
    """
    metrics: dict[str, Estimate] = {}
    counts: list[tuple[int, int]] = []
    for item in outcomes:
        for metric, answers in item.answers.items():
            found = rate(sum(answers), len(answers), confidence, UNIT)
            method = f"{found.method}; {_how(item, utility)}"
            metrics[utility_name(item.task, metric)] = replace(found, method=method)
        answers = item.answers[leading_metric(item.task, utility.metric)]
        counts.append((sum(answers), len(answers)))
    return {**metrics, UTILITY_MEAN: mean_of_rates(counts, confidence, UNIT)}


def packed_answers(outcomes: Sequence[TaskOutcomes]) -> dict[str, str]:
    """Every answer behind every metric, for a record."""
    return {
        utility_name(item.task, metric): pack_answers(answers)
        for item in outcomes
        for metric, answers in item.answers.items()
    }


def document_hashes(outcomes: Sequence[TaskOutcomes]) -> dict[str, str]:
    """Task -> hash of the questions asked, where it is known."""
    return {item.task: item.documents for item in outcomes if item.documents}


def _how(item: TaskOutcomes, utility: UtilityConfig) -> str:
    """What a sceptic needs to repeat it: version, shots, which examples."""
    asked = len(next(iter(item.answers.values())))
    each = " of each subject" if item.task == "mmlu" else ""
    which = "all" if utility.limit is None else f"first {utility.limit}{each}: {asked}"
    return (
        f"lm-eval task version {item.version}, {item.fewshot}-shot, {which} of {item.available} "
        f"from {utility.source}"
    )
