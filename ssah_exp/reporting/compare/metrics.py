"""What arms can be compared by: the metrics of a record, and each one's values prompt by prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ssah_exp.evaluation.attack_metrics import attacked_style, joined_styles, styles_under
from ssah_exp.evaluation.judges import Verdict
from ssah_exp.evaluation.metric_names import MEAN, PERPLEXITY, asr_name, refusal_name, score_name
from ssah_exp.evaluation.mt_bench.names import MT_MEAN, TURN_NAMES
from ssah_exp.evaluation.outcomes import MARKS, Outcomes, unpack_answers, verdicts_name
from ssah_exp.evaluation.paired_tests import Values
from ssah_exp.evaluation.questions import BENIGN, BORDERLINE, HARMFUL
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN, leading_names
from ssah_exp.records.record import ArmRecord, RunRecord

Read = Callable[[Outcomes], Values | None]


class Kind(StrEnum):
    """How values are compared and written."""

    RATE = "rate"
    LOSS = "loss"
    SCORE = "score"  # of a judge, in its own points
    AVERAGE = "average"  # of the rates of several tasks


@dataclass(frozen=True)
class Metric:
    """One thing that is compared.

    Attributes:
        name: As in the record.
        kind: How.
        data: Inputs whose content hashes say which prompts or which text it is over.
        read: Gives its values ``(n,)`` in an arm's outcomes; None if the record keeps none.
        unit: What one value is of.
        span: Highest value there can be, less the lowest.
        higher_is_better: Else an arm is worse where it is higher.
        tasks: Tasks of the harness whose questions it is over.
    """

    name: str
    kind: Kind
    data: tuple[str, ...]
    read: Read
    unit: str = "prompts"
    span: float = 1.0
    higher_is_better: bool = False
    tasks: tuple[str, ...] = ()

    def is_of(self, part: str) -> bool:
        """Whether ``part`` is the name or its first parts: ``asr``, ``asr/raw+gcg``."""
        return self.name == part or self.name.startswith(f"{part}/")


def metrics_of(records: Sequence[RunRecord], judge: str) -> list[Metric]:
    """What the arms of one setting can be compared by: whatever any of its records measured.

    Single attempts of an attack are left out: what they add up to is compared, and each would be
    one more test to adjust for.

    Args:
        records: One per seed, at least one.
        judge: Whose verdicts; it may have been asked of some seeds alone.
    """
    there = {name for record in records for arm in record.arms for name in arm.metrics}
    record = next((run for run in records if judge in run.judges), records[0])  # has its scale
    found = [
        Metric(PERPLEXITY, Kind.LOSS, ("text",), _losses, "windows"),
        *_verdicts(record, judge),
        *_scores(record, judge),
        *_utility(record),
        *_mt_bench(record),
    ]
    return [metric for metric in found if metric.name in there]


def values_of(arms: Sequence[ArmRecord], metric: Metric) -> Values | None:
    """One value per prompt or window, averaged over draws; NaN = not scored in all of them.

    Returns:
        ``(n,)``, or None if a record keeps no outcomes.
    """
    rows = [None if arm.outcomes is None else metric.read(arm.outcomes) for arm in arms]
    there = [row for row in rows if row is not None]
    if len(there) < len(rows) or not there:
        return None
    mean: Values = np.mean(there, axis=0)
    return mean


def questions_put(arms: Iterable[ArmRecord], metric: Metric) -> set[tuple[str, ...]]:
    """Each set of questions that some arm was asked, as a hash per task of the metric.

    Arms whose record keeps no hashes are left out; empty for a metric without tasks.
    """
    known = [arm.outcomes.documents for arm in arms if arm.outcomes is not None]
    return {
        tuple(documents[task] for task in metric.tasks)
        for documents in known
        if metric.tasks and documents.keys() >= set(metric.tasks)
    }


def numbers_asked(arms: Iterable[ArmRecord], metric: Metric) -> set[int]:
    """Each number of questions that some arm answered; empty for a metric without tasks."""
    if not metric.tasks:
        return set()
    rows = [metric.read(arm.outcomes) for arm in arms if arm.outcomes is not None]
    return {len(row) for row in rows if row is not None}


def _losses(outcomes: Outcomes) -> Values | None:
    return np.asarray(outcomes.losses, dtype=np.float64) if outcomes.losses else None


def _verdicts(record: RunRecord, judge: str) -> Iterator[Metric]:
    """ASR with and without attacks, and refusals of harmless requests."""
    evaluation = record.config["evaluation"]
    styles = evaluation["harmful_styles"]
    for style in styles:
        yield _asr(style, [style], judge)
    if len(styles) > 1:
        yield _asr(MEAN, styles, judge)
    for attacked in styles_under(evaluation.get("attacks", {})):
        yield _asr(attacked, [attacked], judge)
    if (joining := evaluation.get("mean_with")) is not None:
        yield _asr(attacked_style(MEAN, joining), joined_styles(evaluation), judge)
    style = evaluation["benign_style"]
    for which in (BENIGN, BORDERLINE):
        read = _share_of([verdicts_name(which, style, judge)], Verdict.REFUSED)
        yield Metric(refusal_name(which, style, judge), Kind.RATE, (f"{which}_eval",), read)


def _asr(name: str, styles: Sequence[str], judge: str) -> Metric:
    keys = [verdicts_name(HARMFUL, style, judge) for style in styles]
    read = _share_of(keys, Verdict.COMPLIED)
    return Metric(asr_name(name, judge), Kind.RATE, ("harmful_eval",), read)


def _share_of(keys: Sequence[str], counted: Verdict) -> Read:
    """1 where the verdict is ``counted``, 0 where not, NaN if unscored; averaged over ``keys``."""
    meaning = {MARKS[verdict]: float(verdict is counted) for verdict in MARKS}
    meaning[MARKS[Verdict.UNSCORED]] = np.nan

    def read(outcomes: Outcomes) -> Values | None:
        if not all(key in outcomes.verdicts for key in keys):
            return None
        rows = [[meaning[mark] for mark in outcomes.verdicts[key]] for key in keys]
        mean: Values = np.mean(np.asarray(rows, dtype=np.float64), axis=0)
        return mean

    return read


def _scores(record: RunRecord, judge: str) -> Iterator[Metric]:
    """A judge's mean score, and the rate of each whole score on its scale."""
    low, high = record.judges.get(judge, {}).get("scale", (0.0, 1.0))
    evaluation = record.config["evaluation"]
    for style in (*evaluation["harmful_styles"], *styles_under(evaluation.get("attacks", {}))):
        name = score_name(style, judge)
        given = _score(name)
        yield Metric(name, Kind.SCORE, ("harmful_eval",), given, "answers", high - low)
        for at in range(int(low), int(high) + 1):  # those that are no metric are left out later
            counted = score_name(style, judge, at)
            yield Metric(counted, Kind.RATE, ("harmful_eval",), _score(name, at), "answers")


def _score(name: str, at: int | None = None) -> Read:
    """Scores of a metric, or 1 where they are ``at`` and 0 elsewhere."""

    def read(outcomes: Outcomes) -> Values | None:
        if name not in outcomes.scores:
            return None
        given = np.asarray(outcomes.scores[name], dtype=np.float64)  # None becomes NaN
        return given if at is None else np.where(np.isnan(given), np.nan, given == at)

    return read


def _utility(record: RunRecord) -> Iterator[Metric]:
    """The leading metric of every harness task, and their mean."""
    recorded = record.config.get("utility")
    if recorded is None:
        return
    tasks = recorded["tasks"]
    names = leading_names(tasks, recorded["metric"])[:-1]
    for name, task in zip(names, tasks, strict=True):
        yield Metric(
            name,
            Kind.RATE,
            (f"utility.{task}",),
            _answers([name]),
            "questions",
            higher_is_better=True,
            tasks=(task,),
        )
    if len(names) > 1:
        yield Metric(
            UTILITY_MEAN,
            Kind.AVERAGE,
            tuple(f"utility.{task}" for task in tasks),
            _answers(names),
            "questions",
            _heaviest(record, names),
            higher_is_better=True,
            tasks=tuple(tasks),
        )


def _answers(names: Sequence[str]) -> Read:
    """Right and wrong of every question, weighted so that their mean counts each task once."""

    def read(outcomes: Outcomes) -> Values | None:
        if not all(name in outcomes.answers for name in names):
            return None
        rows = [unpack_answers(outcomes.answers[name]) for name in names]
        n = sum(len(row) for row in rows)
        joined: Values = np.concatenate([row * (n / len(names) / len(row)) for row in rows])
        return joined

    return read


def _heaviest(record: RunRecord, names: Sequence[str]) -> float:
    """The weight of a question of the smallest task."""
    sizes = [record.arms[0].metrics[name].n for name in names if name in record.arms[0].metrics]
    return sum(sizes) / len(sizes) / min(sizes) if sizes else 1.0


def _mt_bench(record: RunRecord) -> Iterator[Metric]:
    low, high = record.judges.get("mt_bench", {}).get("scale", (0.0, 1.0))
    for name in (*TURN_NAMES, MT_MEAN):
        yield Metric(
            name,
            Kind.SCORE,
            ("mt_bench",),
            _score(name),
            "conversations",
            high - low,
            higher_is_better=True,
        )
