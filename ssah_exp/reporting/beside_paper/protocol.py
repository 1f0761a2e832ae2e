"""Where our protocol parts from the paper's, as short sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.pair import sources_of

ADVBENCH = "AdvBench"
# Names of the shipped data groups whose harmful requests are AdvBench goals.
_ADVBENCH_DATA = ("paper_files", "paper_hub")


def model_differs(record: RunRecord, source: str) -> Iterator[str]:
    """Another model than the published row's."""
    name = str(record.config["model"]["name"])
    if len(sources_of(name, [source, "?"])) != 1:
        yield f"model: {name} for {source}"


def benchmark_of(record: RunRecord) -> str:
    """The harmful requests by the name that tables use."""
    name = str(record.config["data"]["name"])
    return ADVBENCH if name.startswith(_ADVBENCH_DATA) else name


def requests_differ(record: RunRecord, benchmark: str, n: int | None) -> Iterator[str]:
    """Other harmful requests, or another number of them; ``n`` None: not published."""
    ours, count = benchmark_of(record), record.data["harmful_eval"]
    if ours.lower() != benchmark.lower():
        yield f"data: {ours} for {benchmark}"
    if n is not None and count != n:
        yield f"n: {count} for {n}"


def tokens_differ(record: RunRecord, tokens: int) -> Iterator[str]:
    """Longer or shorter answers."""
    ours = record.config["evaluation"]["max_new_tokens"]
    if ours != tokens:
        yield f"tokens: {ours} for {tokens}"


def judge_differs(judge: str, published: str) -> Iterator[str]:
    """Another judge."""
    if judge != published:
        yield f"judge: {judge} for {published}"


def rubric_differs(record: RunRecord, judge: str) -> Iterator[str]:
    """Whatever model is asked, the rubric is in our words; GPT-4 was told the authors'."""
    if judge in record.judges:
        yield f"judge: {record.judges[judge].get('model', judge)} by our wording for GPT-4"


def text_differs(record: RunRecord, window: int) -> Iterator[str]:
    """Another held-out text, or windows of another length."""
    config: dict[str, Any] = record.config
    if not str(config["data"]["name"]).startswith(_ADVBENCH_DATA):
        yield f"text: {config['data']['name']} for WikiText-2"
    ours = config["evaluation"]["perplexity"]["window"]
    if ours != window:
        yield f"window: {ours} for {window}"


def budget_differs(record: RunRecord, name: str, share: float | None) -> Iterator[str]:
    """A class cut at another share, or at a share of something else; None: no class."""
    if share is None:
        return
    budgets = record.config["units"]["budgets"]
    ours = budgets[name.lower()]
    if (ours, budgets["unit"]) != (share, "params"):
        yield f"{name} budget: {ours:g} of {budgets['unit']} for {share:g} of params"
