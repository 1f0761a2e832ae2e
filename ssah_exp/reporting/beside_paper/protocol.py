"""Where our protocol differs from the paper's, as short phrases ``what: ours for theirs``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from ssah_exp.config.compose import conf_dir
from ssah_exp.config.facts import class_of
from ssah_exp.config.judge_files import read_judges
from ssah_exp.data.sources import RefusedRequests
from ssah_exp.evaluation.judges.wording import GIVEN, WORDING
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.pair import letters, same_model

ADVBENCH = "AdvBench"
JUDGE = "wei2024"  # the paper's list of refusal phrases
# Names of the shipped data groups whose harmful requests are AdvBench goals.
_ADVBENCH_DATA = ("paper_files", "paper_hub", "advbench")
RAW_TEXT = "WikiText-2 raw"
# AdvBench's first 100 goals and all 520, by their content, as files have them.
_GOALS = {
    100: "8ca4fa2fde4db0c4cb5eff01454d162e78edadb37894f6f859355c587c703ddb",
    520: "a8c55e1f177caa125e6cdb4bb52a0c99ba780d7e59a77c0776749c1c028d58ae",
}
_SCORES = {
    "statistic": "variance",
    "tokens": "response",
    "square_attention": True,
    "unweighted": False,
    "samples": 128,
}
BUDGETS = {"SCU": 0.01, "UCU": 0.10, "RU": 0.10}  # of the parameters
_RAW_SUBSET, _RAW_SPLIT = "wikitext-2-raw-v1", "test"
# Texts known by their content; a record does not say where a file lay. The one of data=paper_files
# is cut into words, with rare ones replaced by <unk>: its perplexity is another number.
_TEXTS = {
    "7960c99a59b61fae5f0bcb87c4a348ec841626de09470b38d793b652365e5827": "tokenised WikiText-2"
}
# Stands in the pattern by which prompts are taken from the precursor's calibration file.
_TAG = "INST"
_LLAMA_2 = "Llama-2-7B-Chat"
# Longest sequences by the models' own configs: the tokens of evaluation.perplexity.window=max.
_LONGEST = {
    _LLAMA_2: 4096,
    "Llama-3-8B-Instruct": 8192,
    "Mistral-7B-Instruct-v0.2": 32768,
}


def model_differs(record: RunRecord, source: str) -> Iterator[str]:
    """Another model than the published row's."""
    name = str(record.config["model"]["name"])
    if not _is_model(record, source):
        yield f"model: {name} for {source}"


def benchmark_of(record: RunRecord) -> str:
    """The harmful requests by the name that tables use."""
    name = str(record.config["data"]["name"])
    if not name.lower().startswith(_ADVBENCH_DATA):
        return name
    return f"{name} with other requests" if _other_goals(record) else ADVBENCH


def _other_goals(record: RunRecord) -> bool:
    """Whether a file of as many requests as AdvBench has, or the paper asks, holds others."""
    found, known = record.inputs.get("harmful_eval"), _GOALS.get(record.data["harmful_eval"])
    from_hub = "repo_id" in record.config["data"]["harmful_eval"]
    return None not in (found, known) and found != known and not from_hub


def requests_differ(record: RunRecord, benchmark: str, n: int | None) -> Iterator[str]:
    """Other harmful requests, or another number of them; ``n`` None: not published."""
    ours, count = benchmark_of(record), record.data["harmful_eval"]
    if ours.lower() != benchmark.lower():
        yield f"data: {ours} for {benchmark}"
    if n is not None and count != n:
        yield f"n: {count} for {n}"


def calibration_differs(record: RunRecord) -> Iterator[str]:
    """Units found on other harmful requests than AdvBench's goals, from file or hub.

    A record has no paths: the precursor's file is recognised by the chat tags around its prompts.
    """
    source = _calibration(record)
    if _TAG not in source and ADVBENCH not in source:
        yield f"calibration: other requests for {ADVBENCH} goals"


def refusals_differ(record: RunRecord) -> Iterator[str]:
    """One of the paper's models, whose units were found on refusals known not to be its own.

    Those are this package's, and the precursor's file, which holds Llama-2's.
    """
    source, models = _calibration(record), [name for name in _LONGEST if _is_model(record, name)]
    if models and RefusedRequests.__name__ in source:
        yield "calibration: this package's refusals for the model's own"
    elif models and _TAG in source and models != [_LLAMA_2]:
        yield "calibration: Llama-2's refusals for the model's own"


def _calibration(record: RunRecord) -> str:
    return json.dumps(record.config["data"]["safety_calibration"])


def tokens_differ(record: RunRecord, tokens: int) -> Iterator[str]:
    """Longer or shorter answers."""
    ours = record.config["evaluation"]["max_new_tokens"]
    if ours != tokens:
        yield f"tokens: {ours} for {tokens}"


def judge_differs(record: RunRecord, judge: str, published: str) -> Iterator[str]:
    """Another judge, or one of that name with other phrases or rules."""
    if judge != published:
        yield f"judge: {judge} for {published}"
        return
    used = record.config["evaluation"]["judges"].get(judge)
    if used is not None and _set(used) != _set(_shipped_judge(judge)):
        yield f"judge: a changed {judge} for {published}"


def _set(judge: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are not off."""
    return {key: value for key, value in judge.items() if value}


@cache
def _shipped_judge(name: str) -> dict[str, Any]:
    """Settings of the shipped judge of this name."""
    return read_judges([name], [])[name]


def system_differs(record: RunRecord) -> Iterator[str]:
    """Another system prompt than Llama-2's published one, which is the shipped default."""
    ours = record.config["evaluation"].get("system_prompt")
    if ours is not None and ours != _llama_2_prompt():
        yield "system prompt: another for Llama-2's"


@cache
def _llama_2_prompt() -> str:
    # Not composed: a run, which prints its table, has Hydra at work.
    shared = OmegaConf.load(conf_dir() / "evaluation" / "_shared.yaml")
    return str(shared.system_prompt)


def scores_differ(record: RunRecord) -> Iterator[str]:
    """Units scored otherwise than in protocol section 1, or from another number of examples."""
    units = record.config["units"]
    if (scoring := units.get("scoring")) is not None:
        yield f"scores: {class_of(scoring)} for variance"
        return
    for key, theirs in _SCORES.items():
        if units.get(key, theirs) != theirs:
            yield f"scores: {key} {units[key]} for {theirs}"


def fill_differs(record: RunRecord) -> Iterator[str]:
    """Activations replaced by nothing, where the paper takes a calibration mean."""
    if record.config["ablation"]["primary_fill"] == "zero":
        yield "fill: zero for a mean"


def rubric_differs(record: RunRecord, judge: str) -> Iterator[str]:
    """Another model than GPT-4, or the rubric in our words instead of its authors'."""
    described = record.judges[judge]
    model = str(described.get("model", judge))
    if not _given(described.get("rubric", {})):
        yield f"judge: {model} by our wording for GPT-4"
    elif not letters(model).startswith("gpt4"):
        yield f"judge: {model} for GPT-4"


def question_differs(record: RunRecord, judge: str) -> Iterator[str]:
    """HarmBench's classifier asked in our words, not its authors', which it was trained on."""
    described = record.judges.get(judge, {})
    if described.get("kind") == "harmbench" and not _given(described):
        yield f"judge: {judge} by our wording for its authors'"


def guard_differs(record: RunRecord, judge: str, published: str) -> Iterator[str]:
    """Another guard model, as far as its name tells."""
    name = str(record.judges[judge].get("name", judge))
    if not letters(name).startswith(letters(published)):
        yield f"judge: {name} for {published}"


def text_differs(record: RunRecord, window: int) -> Iterator[str]:
    """Another held-out text, or windows of another length."""
    text, ours = _text_of(record), window_of(record)
    if text != RAW_TEXT:
        yield f"text: {text} for {RAW_TEXT}"
    if ours != window:
        yield f"window: {ours} for {window}"
    if record.config["evaluation"]["perplexity"].get("bos"):
        yield "window: each begins with the beginning-of-text token"


def budget_differs(record: RunRecord, name: str) -> Iterator[str]:
    """A class cut at another share, or at a share of something else."""
    budgets, theirs = record.config["units"]["budgets"], BUDGETS[name]
    ours = budgets[name.lower()]
    if (ours, budgets["unit"]) != (theirs, "params"):
        yield f"{name} budget: {ours:g} of {budgets['unit']} for {theirs:g} of params"


def size_differs(record: RunRecord, source: str, share: float, printed: float) -> Iterator[str]:
    """The row's own model, with a share of all units that is over a tenth off the printed one.

    At the budgets that the paper names, its Llama-3 and Mistral rows cannot have the sizes that it
    prints: what a head weighed there is not published.

    Args:
        record: A run.
        source: The row's model.
        share: Ours, from 0 to 1.
        printed: The paper's, in percent.
    """
    if _is_model(record, source) and abs(100 * share - printed) > printed / 10:
        yield f"size: {100 * share:.1f} % of units for {printed:g}"


def _text_of(record: RunRecord) -> str:
    """Name of the held-out text: the hub's raw set, one known by content, or the data's name."""
    source: dict[str, Any] = record.config["data"]["text"]
    if (source.get("subset"), source.get("split")) == (_RAW_SUBSET, _RAW_SPLIT):
        return RAW_TEXT
    return _TEXTS.get(record.inputs["text"], str(record.config["data"]["name"]))


def window_of(record: RunRecord) -> int | str:
    """Tokens of a window; ``max`` stays where the model's longest sequence is not known here."""
    asked: int | str = record.config["evaluation"]["perplexity"]["window"]
    if asked != "max":
        return asked
    return next((size for name, size in _LONGEST.items() if _is_model(record, name)), asked)


def _is_model(record: RunRecord, source: str) -> bool:
    return same_model(str(record.config["model"]["name"]), source)


def _given(described: Mapping[str, Any]) -> bool:
    """Whether a judge's wording was read from a user's file instead of being ours."""
    return described.get(WORDING) == GIVEN
