"""Which harness tasks there are, and what is wrong with a choice of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssah_exp.config.ranges import at_least, choice, choices
from ssah_exp.config.schema import UtilityConfig

# Task -> metrics that lm-evaluation-harness computes for it; all are shares of right answers. The
# two of gsm8k are its filters: the answer after "####", or the last number anywhere.
TASK_METRICS: Mapping[str, tuple[str, ...]] = {
    "winogrande": ("acc",),
    "openbookqa": ("acc", "acc_norm"),
    "arc_challenge": ("acc", "acc_norm"),
    "boolq": ("acc",),
    "hellaswag": ("acc", "acc_norm"),
    "rte": ("acc",),
    "arc_easy": ("acc", "acc_norm"),
    "piqa": ("acc", "acc_norm"),
    "gsm8k": ("exact_match", "exact_match_flexible"),
    "mmlu": ("acc",),
}
PREFERRED = ("acc", "acc_norm")
SOURCES = ("hub", "files")


def leading_metric(task: str, preferred: str) -> str:
    """The metric a table shows: the preferred one, or the first where a task lacks it."""
    metrics = TASK_METRICS[task]
    return preferred if preferred in metrics else metrics[0]


def utility_problems(utility: UtilityConfig) -> Iterable[str]:
    """What is wrong with the harness tasks of a run."""
    if not utility.tasks:
        if utility != UtilityConfig():
            yield (
                "utility.tasks is empty, so the other utility options would have no effect; "
                "choose tasks, e.g. utility=paper6 or utility.tasks=[winogrande]."
            )
        return
    yield from choices("utility.tasks", utility.tasks, TASK_METRICS)
    yield from choice("utility.metric", utility.metric, PREFERRED)
    yield from choice("utility.source", utility.source, SOURCES)
    yield from at_least("utility.batch_size", utility.batch_size, 1)
    yield from at_least("utility.limit", utility.limit, 1)
    for task, shots in utility.fewshot.items():
        yield from choice("utility.fewshot", task, utility.tasks)
        yield from at_least(f"utility.fewshot.{task}", shots, 0)
    yield from _root(utility)


def _root(utility: UtilityConfig) -> Iterable[str]:
    if utility.source == "files" and not utility.root:
        yield "utility.source=files needs utility.root; give data.root=DIR or utility.root=DIR."
    if utility.source == "hub" and utility.root:
        yield "utility.root would have no effect with utility.source=hub; say source=files."
