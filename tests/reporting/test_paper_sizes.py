"""Cells on fewer examples than the paper's carry a mark in every format."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.beside_paper import sizes as paper_sizes
from ssah_exp.reporting.beside_paper.sizes import footnote
from ssah_exp.reporting.rows import blocks
from tests.records.synthetic import (
    JUDGE,
    METRICS,
    TRAINING_JUDGE,
    arm,
    record,
    trained_arm,
    training_record,
)

ASR = f"asr/raw/{JUDGE}"


def of_size(prompts: int, windows: int = 400) -> RunRecord:
    """Every rate over so many prompts; windows of 1,024 tokens."""
    made = arm("aligned", 0.1)
    metrics = {name: rate(prompts // 2, prompts, 0.95) for name in METRICS[1:]}
    metrics["perplexity"] = Estimate(9.0, 8.0, 10.0, windows, "windows", "bootstrap")
    return record(arms=[replace(made, metrics=metrics)])


def marks(made: RunRecord, form: str) -> list[bool]:
    """Of perplexity, the three ASRs and the two refusal rates."""
    text = render_artefact([made], form)
    if form in ("csv", "json"):
        frame = pd.read_csv(io.StringIO(text)) if form == "csv" else pd.DataFrame(json.loads(text))
        return [bool(mark) for mark in frame[frame["origin"] == "measured"]["fewer_than_paper"]]
    mark, end = ("†", "|") if form == "markdown" else (r"\(\dagger\)", r"\\")
    line = next(line for line in text.splitlines() if line.lstrip("| ").startswith("aligned"))
    cells = line.strip().removesuffix(end).strip("|").split("|" if end == "|" else " & ")
    return [mark in cell for cell in cells[-6:]]


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_fewer_prompts_or_less_text_are_marked(form: str) -> None:
    assert marks(of_size(100), form) == [False] * 6
    assert marks(of_size(99), form) == [False, True, True, True, False, False]
    assert marks(of_size(100, windows=200), form) == [True] + [False] * 5


@pytest.mark.parametrize(
    ("model", "tokens", "marked"),
    [
        ("Llama-2-7B-Chat", None, True),  # 50 windows of 4,096 tokens
        ("Llama-2-7B-Chat", 500_000, True),  # asked for more than the text has
        ("Llama-3-8B-Instruct", None, False),  # 50 windows of 8,192
        ("new", 500_000, False),  # how long its windows are is not known here
    ],
)
def test_a_window_of_the_models_longest_sequence_is_counted(
    model: str, tokens: int | None, marked: bool
) -> None:
    made = of_size(100, windows=50)
    evaluation = dict(made.config["evaluation"])
    evaluation["perplexity"] = {**evaluation["perplexity"], "window": "max", "max_tokens": tokens}
    named = {**made.config["model"], "name": model}
    made = replace(made, config={**made.config, "evaluation": evaluation, "model": named})
    assert marks(made, "markdown")[0] is marked


def test_the_footnote_counts_both() -> None:
    (block,) = blocks([of_size(36, windows=2)])
    assert footnote(block) == (
        "† Fewer examples than in the paper: 36 of 100 harmful prompts behind the ASR; 2,048 "
        "tokens against the 245,569 words of text behind the perplexity."
    )
    text = render_artefact([of_size(36)], "markdown")
    assert "† Fewer examples than in the paper: 36 of 100" in text
    (whole,) = blocks([of_size(100)])
    assert footnote(whole) is None
    assert "†" not in render_artefact([of_size(100)], "markdown")


def test_a_sample_that_people_read_is_no_smaller_table() -> None:
    """A footnote said of the list's 100 prompts that they were the 20 that were read."""
    made = of_size(100)
    for name, n in (("asr/raw/labels", 20), ("asr/mean/labels", 20), ("coverage/raw/labels", 100)):
        made.arms[0].metrics[name] = rate(min(n, 20), n, 0.95)
    (block,) = blocks([made])
    assert block.rows[0].cells["asr/raw/labels"].n == 20
    assert footnote(block) is None
    made.arms[0].metrics["coverage/raw/labels"] = rate(100, 100, 0.95)
    (block,) = blocks([made])
    assert "20 of 100 harmful prompts" in str(footnote(block))


def test_a_dagger_in_a_column_is_explained_though_its_judge_left_answers_out() -> None:
    made = of_size(100)
    some = {ASR: rate(5, 20, 0.95), f"coverage/raw/{JUDGE}": rate(20, 100, 0.95)}
    made.arms[0].metrics.update(some)
    (block,) = blocks([made])
    assert ASR in block.metrics
    assert "20 of 100 harmful prompts" in str(footnote(block))


def test_a_gap_is_not_marked() -> None:
    made = of_size(36)
    gap = Estimate(None, None, None, 0, "prompts", "none")
    made.arms[0].metrics[ASR] = gap
    assert marks(made, "markdown") == [False, False, True, True, False, False]


def test_each_artefact_has_the_papers_own_size() -> None:
    for artefact, size in (("table2_freezing", 520), ("table3_peft", 330)):
        text = render_artefact([training_record(artefact=artefact)], "markdown")
        assert f"† Fewer examples than in the paper: 100 of {size} harmful" in text
    (block,) = blocks([training_record(artefact="scu_only")])
    assert footnote(block) is None, "the paper has no such table"


def with_tasks(questions: int) -> RunRecord:
    """One harness task beside everything else."""
    made = of_size(100)
    only = made.arms[0]
    found = rate(1, questions, 0.95, "questions")
    metrics = {**only.metrics, "utility/boolq/acc": found, "utility/mean": found}
    utility = {"tasks": ["boolq"], "metric": "acc"}
    config = {**made.config, "utility": utility}
    return replace(made, arms=[replace(only, metrics=metrics)], config=config)


def test_fewer_questions_of_a_utility_task_are_marked() -> None:
    (block,) = blocks([with_tasks(50)])
    assert footnote(block) == (
        "† Fewer examples than in the paper: 50 of 200 questions of a utility task."
    )
    assert "50 of 200" in render_artefact([with_tasks(50)], "markdown")
    (whole,) = blocks([with_tasks(200)])
    assert footnote(whole) is None


@pytest.mark.parametrize(("limit", "fewer"), [(None, False), (4096, True)])
def test_windows_of_the_models_own_length(limit: int | None, fewer: bool) -> None:
    made = of_size(100, windows=2)
    made.config["evaluation"]["perplexity"] |= {"window": "max", "max_tokens": limit}
    (block,) = blocks([made])
    assert (footnote(block) is not None) == fewer


LLM = {"kind": "endpoint", "rubric": {"name": "hexphi"}}


def measured_on(
    benchmark: str, metric: str, n: int, artefact: str = "table2_freezing", **changes: Any
) -> str | None:
    """The footnote of a trained arm with one metric, over ``n`` requests of a benchmark."""
    full = trained_arm("full", 0.4)
    found = replace(full, metrics={metric: rate(1, n, 0.95)})
    made = training_record(artefact=artefact, arms=[found], **changes)
    config = {**made.config, "data": {**made.config["data"], "name": benchmark}}
    (block,) = blocks([replace(made, config=config)])
    return footnote(block)


@pytest.mark.parametrize(
    ("benchmark", "n", "of"),
    [
        ("HEx-PHI", 330, None),
        ("hex-phi", 329, 330),
        ("paper_files", 520, None),
        ("paper_files_small", 330, 520),
        ("HarmBench", 400, None),
        ("HarmBench", 399, 400),
        ("bundled", 36, 520),
    ],
)
def test_each_benchmark_of_table_2_has_its_own_size(benchmark: str, n: int, of: int | None) -> None:
    note = measured_on(benchmark, f"asr/mean/{TRAINING_JUDGE}", n)
    expected = f"† Fewer examples than in the paper: {n} of {of} harmful prompts behind the ASR."
    assert note == (None if of is None else expected)


@pytest.mark.parametrize(("kind", "fewer"), [("Gcg", True), ("Pair", True), ("Prefill", False)])
def test_attacks_of_table_2_are_held_against_harmbench(kind: str, *, fewer: bool) -> None:
    changes: dict[str, Any] = {"attacks": {"mine": {"kind": kind}}}
    note = measured_on("HarmBench", f"asr/chat+mine/{TRAINING_JUDGE}", 5, **changes)
    assert (note is not None) == fewer
    if fewer:
        assert "5 of 400 harmful prompts behind the ASR under attack." in str(note)
    assert measured_on("HarmBench", f"asr/chat+mine/{TRAINING_JUDGE}", 400, **changes) is None
    for of_it in ("#2", ".continuation"):  # the rates that an attack has beside its own
        style = f"chat+mine{of_it}"
        assert measured_on("HarmBench", f"asr/{style}/{TRAINING_JUDGE}", 5, **changes) == note


@pytest.mark.parametrize("kind", ["Gcg", "Prefill"])
def test_every_attack_of_table_1_is_held_against_its_goals(kind: str) -> None:
    def under_attack(n: int) -> str | None:
        made = of_size(100)
        made.arms[0].metrics[f"asr/raw+mine/{JUDGE}"] = rate(1, n, 0.95)
        (block,) = blocks([replace(made, attacks={"mine": {"kind": kind}})])
        return footnote(block)

    note = "† Fewer examples than in the paper: 99 of 100 harmful prompts behind the ASR under "
    assert under_attack(99) == f"{note}attack."
    assert under_attack(100) is None


@pytest.mark.parametrize("artefact", ["table2_freezing", "table3_peft"])
@pytest.mark.parametrize("name", ["score", "score5"])
def test_scores_of_the_papers_rubric_are_held_against_hexphi(artefact: str, name: str) -> None:
    metric = f"{name}/chat/llm"
    changes: dict[str, Any] = {"judges": {"llm": LLM, TRAINING_JUDGE: {"kind": "keyword"}}}
    note = measured_on("HEx-PHI", metric, 20, artefact, **changes)
    assert note == "† Fewer examples than in the paper: 20 of 330 answers behind a score."
    assert measured_on("HEx-PHI", metric, 330, artefact, **changes) is None
    attacked = {**changes, "attacks": {"gcg": {"kind": "Gcg"}}}
    assert measured_on("HEx-PHI", f"{name}/chat+gcg/llm", 20, artefact, **attacked) is None
    guard = {"judges": {"llm": {"kind": "guard"}}}
    assert measured_on("HEx-PHI", metric, 20, artefact, **guard) is None


def table_4(sizes: dict[str, int]) -> RunRecord:
    """Harness tasks and MT-bench of one arm, by metric."""
    full = trained_arm("full", 0.4)
    metrics = {name: rate(1, n, 0.95, "questions") for name, n in sizes.items()}
    arms = [replace(full, metrics=metrics)]
    made = training_record(artefact="table4_alignment_budget", arms=arms)
    tasks = [name.split("/")[1] for name in sizes if name.startswith("utility")]
    utility = {"tasks": tasks, "metric": "acc_norm"}
    return replace(made, config={**made.config, "utility": utility, "mt_bench": {"judge": {}}})


def test_fewer_questions_than_table_4s_full_sets_are_marked_task_by_task() -> None:
    made = table_4(
        {
            "utility/arc_challenge/acc_norm": 20,
            "utility/hellaswag/acc_norm": 1000,
            "utility/mmlu/acc": 14_042,
            "mt_bench/turn1": 79,
            "mt_bench/turn2": 80,
            "mt_bench/mean": 78,
        }
    )
    (block,) = blocks([made])
    assert footnote(block) == (
        "† Fewer examples than in the paper: 78 of 80 conversations of MT-bench; 79 of 80 "
        "conversations of MT-bench; 20 of 1,172 questions of ARC-C; 1,000 of 10,042 questions of "
        "HellaSwag."
    )


def test_the_documentation_lists_every_size() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "statistics.md").read_text("utf-8")
    listed = page.partition("## Cells on fewer examples")[2].partition("\n## ")[0]
    sizes = {100, 200, 330, 400, 520, 80, 245_569}
    sizes |= set(paper_sizes._QUESTIONS["table4_alignment_budget"].values())
    assert [size for size in sorted(sizes) if f"{size:,}" not in listed] == []
