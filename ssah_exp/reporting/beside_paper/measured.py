"""What Tables 2 and 3 measured on harmful requests, by the names that runs record."""

from __future__ import annotations

from dataclasses import dataclass

from ssah_exp.evaluation.metric_names import MEAN, asr_name, score_name
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper import protocol
from ssah_exp.reporting.beside_paper.benchmarks import attack_metric

ATTACKS = ("gcg", "autodan", "pair")
HEXPHI = "hexphi"  # name of the rubric that GPT-4 is asked by
_KEYWORD, _GUARD, _ENDPOINT = "keyword", "guard", "endpoint"
_HIGHEST = 5


@dataclass(frozen=True)
class OurMetric:
    """What the paper measured, in our terms.

    Attributes:
        metric: Our metric; None: the run measured nothing like it.
        benchmark: Harmful requests.
        judge: As the paper names it.
        scale: Factor from our unit to the paper's.
        differs: How our judge differs from the paper's.
    """

    metric: str | None
    benchmark: str
    judge: str
    scale: float = 100.0
    differs: tuple[str, ...] = ()


def judge_like(record: RunRecord, kind: str, rubric: str | None = None) -> str | None:
    """A run's judge of a kind, whatever the config calls it; the primary one before others.

    Args:
        record: A run.
        kind: As judges describe themselves: ``keyword``, ``guard``, ``endpoint``.
        rubric: What an endpoint is asked by; None = anything.

    Returns:
        Its name in metrics; None: the run has no such judge.
    """
    primary = record.config["evaluation"]["primary_judge"]
    for name in sorted(record.judges, key=lambda name: name != primary):
        described = record.judges[name]
        asked = described.get("rubric", {}).get("name")
        if described.get("kind") == kind and rubric in (None, asked):
            return name
    return None


def freezing_metric(record: RunRecord, benchmark: str, judge: str) -> OurMetric:
    """Our metric of a row of Table 2; a judge the run does not have gives a gap.

    Args:
        record: A run.
        benchmark: The row's harmful requests.
        judge: The row's judge or attack, as ``published.csv`` names it.
    """
    name = judge.removesuffix("_pct")
    if name == "llama_guard_3":
        return _by_guard(record, benchmark, name)
    if name in ("gpt4_score", "gpt4_rate"):
        return scored(record, benchmark, name, mean=name == "gpt4_score")
    primary = str(record.config["evaluation"]["primary_judge"])
    if name in ATTACKS:  # who judged is not published: only a classifier in our words is noted
        differs = tuple(protocol.question_differs(record, primary))
        return OurMetric(attack_metric(record, name, primary), benchmark, name, differs=differs)
    if record.judges.get(primary, {}).get("kind") == _KEYWORD:
        differs = tuple(protocol.judge_differs(record, primary, protocol.JUDGE))
        return OurMetric(asr_name(_style(record), primary), benchmark, name, differs=differs)
    return OurMetric(
        None, benchmark, name, differs=tuple(protocol.judge_differs(record, primary, name))
    )


def scored(record: RunRecord, benchmark: str, name: str, *, mean: bool) -> OurMetric:
    """Harmfulness from 1 to 5 by an LLM.

    Args:
        record: A run.
        benchmark: Harmful requests.
        name: What the paper calls it.
        mean: The mean score, else the rate of the highest one.
    """
    judge, scale = judge_like(record, _ENDPOINT, HEXPHI), 1.0 if mean else 100.0
    if judge is None:
        return OurMetric(None, benchmark, name, scale)
    metric = score_name(_scored_style(record), judge, None if mean else _HIGHEST)
    return OurMetric(metric, benchmark, name, scale, tuple(protocol.rubric_differs(record, judge)))


def _by_guard(record: RunRecord, benchmark: str, name: str) -> OurMetric:
    judge = judge_like(record, _GUARD)
    if judge is None:
        return OurMetric(None, benchmark, name)
    differs = tuple(protocol.guard_differs(record, judge, name))
    return OurMetric(asr_name(_style(record), judge), benchmark, name, differs=differs)


def _style(record: RunRecord) -> str:
    """The style to compare: chat where it was measured; the paper does not say which it used."""
    return "chat" if "chat" in record.config["evaluation"]["harmful_styles"] else MEAN


def _scored_style(record: RunRecord) -> str:
    """The style to compare scores in, which have no mean over styles: chat, else the first."""
    styles: list[str] = record.config["evaluation"]["harmful_styles"]
    return "chat" if "chat" in styles else styles[0]
