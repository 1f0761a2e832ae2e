"""Cells on fewer examples than the paper's carry a mark in every format."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.paper_sizes import footnote
from ssah_exp.reporting.rows import blocks
from tests.records.synthetic import JUDGE, METRICS, arm, record, training_record

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
