"""The paper's judges stand beside ours of the same kind, whatever a config calls them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.reporting.beside_paper.measured import judge_like
from tests.records.synthetic import trained_arm, training_record
from tests.reporting.beside import changed, pairs

HEXPHI = {"kind": "endpoint", "model": "some-7b", "rubric": {"name": "hexphi"}}
MEAN = Estimate(1.5, 1.2, 1.8, 100, "answers", "")


def judged(
    judges: dict[str, dict[str, Any]],
    metric: str,
    estimate: Estimate,
    artefact: str = "table2_freezing",
    **asked: Any,
) -> RunRecord:
    """One trained arm with a metric of one of these judges; ``asked`` is of the evaluation."""
    full = trained_arm("full", 0.4)
    full = replace(full, metrics={**full.metrics, metric: estimate})
    made = training_record(artefact=artefact, arms=[full], judges=judges)
    return changed(made, lambda config: config["evaluation"].update(asked))


def not_measured(made: RunRecord) -> str:
    """The line that names published quantities without ours."""
    text = render_artefact([made], "markdown")
    return next(line for line in text.splitlines() if line.startswith("Not measured here"))


@pytest.mark.parametrize("artefact", ["table2_freezing", "table3_peft"])
@pytest.mark.parametrize("judge", ["hexphi_endpoint", "mine"])
def test_another_model_and_wording_than_gpt_4s_are_marked(artefact: str, judge: str) -> None:
    metric = f"score/chat/{judge}"
    asked = {"primary_judge": judge, "harmful_styles": ["chat"]}
    made = judged({judge: HEXPHI}, metric, MEAN, artefact, **asked)
    found = next(item for item in pairs(made) if (item.arm, item.metric) == ("full", metric))
    assert found.difference is not None
    assert "judge: some-7b by our wording for GPT-4" in found.differs


@pytest.mark.parametrize(
    ("model", "mark"),
    [
        ("some-7b", "judge: some-7b for GPT-4"),
        ("less-than-gpt-4", "judge: less-than-gpt-4 for GPT-4"),
        ("gpt-4-0613", None),
        ("GPT4", None),
    ],
)
def test_given_words_leave_the_model_to_differ(model: str, mark: str | None) -> None:
    described = {**HEXPHI, "model": model, "rubric": {"name": "hexphi", "wording": "given"}}
    made = judged({"j": described}, "score/chat/j", MEAN, harmful_styles=["chat"])
    found = [item for item in pairs(made) if (item.arm, item.metric) == ("full", "score/chat/j")]
    assert found
    marks = {text for item in found for text in item.differs if text.startswith("judge")}
    assert marks == (set() if mark is None else {mark})


@pytest.mark.parametrize(
    ("described", "mark"),
    [
        ({"kind": "harmbench"}, "judge: hb by our wording for its authors'"),
        ({"kind": "harmbench", "wording": "given"}, None),
    ],
)
def test_harmbenchs_classifier_asked_in_our_words_is_marked(
    described: dict[str, Any], mark: str | None
) -> None:
    made = judged({"hb": described}, "asr/chat+gcg/hb", rate(1, 4, 0.95), primary_judge="hb")
    attacks = {"gcg": {"method": {}, "styles": ["chat"], "requests": None}}
    made = changed(
        replace(made, attacks={"gcg": {"kind": "Gcg"}}),
        lambda config: config["evaluation"].update(attacks=attacks),
    )
    found = [item for item in pairs(made) if item.metric == "asr/chat+gcg/hb"]
    assert found
    marks = {text for item in found for text in item.differs if text.startswith("judge")}
    assert marks == (set() if mark is None else {mark})


@pytest.mark.parametrize("styles", [["chat", "raw"], ["raw", "raw_system"]])
def test_a_judge_that_is_not_the_primary_one_stands_beside_the_paper(styles: list[str]) -> None:
    """Scores have no mean over styles: without chat, the first style is compared."""
    metric = f"score/{styles[0]}/by_llm"
    judges = {"zou2023": {"kind": "keyword"}, "by_llm": HEXPHI}
    made = judged(judges, metric, MEAN, harmful_styles=styles)
    found = next(item for item in pairs(made) if (item.arm, item.metric) == ("full", metric))
    assert found.measured == pytest.approx(1.5)
    assert found.difference is not None


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("llama_guard3", None),
        ("llama_guard3_hub", None),
        ("guard4", "judge: guard4 for llama_guard_3"),
    ],
)
def test_a_guard_is_found_by_its_kind_whatever_the_config_calls_it(
    name: str, mark: str | None
) -> None:
    judges = {"zou2023": {"kind": "keyword"}, "guard": {"kind": "guard", "name": name}}
    metric = "asr/chat/guard"
    made = judged(judges, metric, rate(3, 100, 0.95), harmful_styles=["chat"])
    found = [item for item in pairs(made) if (item.arm, item.metric) == ("full", metric)]
    assert [item.published for item in found if item.source.startswith("Llama-2")] == [
        0.0269,
        0.184,
    ]
    assert all(item.measured == 0.03 for item in found)
    marks = {text for item in found for text in item.differs if text.startswith("judge")}
    assert marks == (set() if mark is None else {mark})
    assert "llama_guard_3" not in not_measured(made)


@pytest.mark.parametrize(
    ("name", "settings", "mark"),
    [
        ("wei2024", None, None),
        ("wei2024", {"phrases": ["no"]}, "judge: a changed wei2024 for wei2024"),
        ("zou2023", None, "judge: zou2023 for wei2024"),
        ("mine", None, "judge: mine for wei2024"),
    ],
)
def test_another_keyword_judge_than_the_papers_is_marked_in_table_2(
    name: str, settings: dict[str, Any] | None, mark: str | None
) -> None:
    metric = f"asr/chat/{name}"
    asked = {"primary_judge": name, "harmful_styles": ["chat"]}
    made = judged({name: {"kind": "keyword"}}, metric, rate(3, 100, 0.95), **asked)
    if settings is not None:
        made = changed(made, lambda config: config["evaluation"].update(judges={name: settings}))
    found = [item for item in pairs(made) if (item.arm, item.metric) == ("full", metric)]
    assert found
    assert all(item.measured == 0.03 for item in found)
    marks = {text for item in found for text in item.differs if text.startswith("judge")}
    assert marks == (set() if mark is None else {mark})


def test_another_rubrics_scores_are_not_beside_gpt_4s() -> None:
    other = {**HEXPHI, "rubric": {"name": "strongreject"}}
    made = judged({"hexphi_endpoint": other}, "score/chat/hexphi_endpoint", MEAN)
    assert all(item.metric != "score/chat/hexphi_endpoint" for item in pairs(made))
    assert "gpt4_score" in not_measured(made)


@pytest.mark.parametrize("primary", ["early", "late"])
def test_of_two_judges_of_a_kind_the_primary_one_stands_beside_the_papers(primary: str) -> None:
    judges = {"early": {"kind": "guard"}, "late": {"kind": "guard"}, "k": {"kind": "keyword"}}
    made = replace(training_record(), judges=judges)
    made.config["evaluation"]["primary_judge"] = primary
    assert judge_like(made, "guard") == primary
    assert judge_like(made, "keyword") == "k"
    assert judge_like(made, "endpoint") is None
