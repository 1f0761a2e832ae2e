"""Published benchmarks and attacks by the names that runs record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssah_exp.config.utility import PREFERRED, leading_metric
from ssah_exp.evaluation.attack_metrics import attacked_style
from ssah_exp.evaluation.metric_names import asr_name
from ssah_exp.evaluation.mt_bench.names import TURN_NAMES
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN, utility_name
from ssah_exp.records.record import RunRecord

SIX = ("winogrande", "openbookqa", "arc_challenge", "boolq", "hellaswag", "rte")
AVERAGE = "utility_avg"
# Published columns that are no task's plain name.
_RENAMED = {
    AVERAGE: UTILITY_MEAN,
    **{f"mt_bench_turn{turn}": name for turn, name in enumerate(TURN_NAMES, start=1)},
}
_GSM8K, _SHOTS = "gsm8k_5shot", 5


def benchmark_metric(record: RunRecord, column: str) -> str:
    """Our metric of a published benchmark: for a harness task, the one that tables show of it."""
    if column in _RENAMED:
        return _RENAMED[column]
    task = "gsm8k" if column == _GSM8K else column
    return utility_name(task, leading_metric(task, _asked(record).get("metric", PREFERRED[0])))


def has_counterpart(record: RunRecord, column: str) -> bool:
    """Whether ours may stand beside it: a mean over other tasks than the paper's six may not."""
    return column != AVERAGE or set(_asked(record).get("tasks", ())) == set(SIX)


def benchmark_differs(record: RunRecord, column: str, limit: int | None) -> Iterator[str]:
    """Another number of questions or of shots than the paper's.

    Args:
        record: A run; one that asked no harness tasks differs in nothing.
        column: Published column.
        limit: How many questions of each task the paper asked; None = all.
    """
    asked = _asked(record)
    if column.startswith("mt_bench") or not asked:
        return
    given = asked.get("limit", limit)
    if given != limit:
        yield f"n: {_first(given)} for {_first(limit)}"
    if column == AVERAGE:
        return
    shots = _SHOTS if column == _GSM8K else None if column == "mmlu" else 0
    asked_shots = asked.get("fewshot", {}).get("gsm8k" if column == _GSM8K else column)
    if asked_shots is not None and shots is not None and asked_shots != shots:
        yield f"shots: {asked_shots} for {shots}"


def attack_metric(record: RunRecord, kind: str, judge: str) -> str | None:
    """ASR under the first attack of a kind, in its first style; None: the run made none.

    Args:
        record: A run.
        kind: ``gcg``, ``autodan`` or ``pair``.
        judge: Whose verdicts.
    """
    for name, described in record.attacks.items():
        if described.get("kind", "").lower() == kind:
            style = record.config["evaluation"]["attacks"][name]["styles"][0]
            return asr_name(attacked_style(style, name), judge)
    return None


def _asked(record: RunRecord) -> dict[str, Any]:
    """The ``utility`` settings of a run; empty for one without harness tasks."""
    return record.config.get("utility") or {}


def _first(limit: int | None) -> str:
    return "all" if limit is None else f"first {limit}"
