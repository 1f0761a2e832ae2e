"""What Table 1's comparison marks as other than the paper's protocol, mark by mark."""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.judge_files import read_judges
from ssah_exp.data.datasets import load_data
from ssah_exp.records.store import read_folder
from ssah_exp.reporting.beside_paper.protocol import benchmark_of
from tests.config.composing import config_of
from tests.records.synthetic import JUDGE, record
from tests.reporting.beside import by_the_protocol, changed, pair, pairs, text_node

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
ROOT = os.environ.get("SSAH_DATA_ROOT")
# Contents of files that data=paper_files reads.
GOALS = "8ca4fa2fde4db0c4cb5eff01454d162e78edadb37894f6f859355c587c703ddb"
TOKENISED = "7960c99a59b61fae5f0bcb87c4a348ec841626de09470b38d793b652365e5827"


def test_the_papers_protocol_on_the_papers_model_has_no_marks() -> None:
    for data in ("paper_hub", "paper_files_raw_text"):
        made = by_the_protocol(text_node(data))
        assert {item.source for item in pairs(made)} == {"Mistral-7B-Instruct-v0.2"}
        assert {item.differs for item in pairs(made)} == {()}


def test_classes_of_other_sizes_than_the_papers_are_marked() -> None:
    """Mistral's SCU are printed as 2 % of its units, which 1 % of the parameters cannot be."""
    made = by_the_protocol(text_node("paper_hub"))
    for share, mark in ((0.0219, ()), (0.0221, ("size: 2.2 % of units for 2",)), (0.0124, None)):
        arms = [replace(item, unit_share=share) for item in made.arms]
        sized = replace(made, arms=arms)
        expected = ("size: 1.2 % of units for 2",) if mark is None else mark
        assert pair(sized, "SCU", "units_pct", "Mistral").differs == expected
        assert pair(sized, "SCU", "perplexity", "Mistral").differs == expected
        assert pair(sized, "aligned", "perplexity", "Mistral").differs == ()
    other = changed(made, lambda config: config["model"].update(name="Another"))
    assert not any("size" in text for item in pairs(other) for text in item.differs)


@pytest.mark.parametrize(
    ("model", "data", "whose"),
    [
        ("Mistral-7B-Instruct-v0.2", "paper_files_raw_text", "Llama-2's"),
        ("Llama-3-8B-Instruct", "paper_files_raw_text", "Llama-2's"),
        ("Llama-2-7B-Chat", "paper_files_raw_text", None),
        ("Llama-2-7B-Chat", "paper_hub", "this package's"),
        ("Another", "paper_files_raw_text", None),
    ],
)
def test_calibration_on_others_refusals_is_marked(model: str, data: str, whose: str | None) -> None:
    source = deepcopy(dict(config_of(f"data={data}").data.safety_calibration))

    def calibrated(config: dict[str, Any]) -> None:
        config["model"]["name"] = model
        config["data"]["safety_calibration"] = source

    found = pairs(changed(record(), calibrated))
    marks = {item.arm: {text for text in item.differs if "calib" in text} for item in found}
    assert marks["aligned"] == set()
    expected = {f"calibration: {whose} refusals for the model's own"} if whose else set()
    assert marks["SCU"] == marks["RU"] == expected


def test_the_text_cut_into_words_is_marked_beside_the_raw_one() -> None:
    made = by_the_protocol(text_node("paper_files"), TOKENISED)
    marks = {item.metric: item.differs for item in pairs(made) if item.differs}
    assert marks == {"perplexity": ("text: tokenised WikiText-2 for WikiText-2 raw",)}
    other = by_the_protocol(text_node("paper_files"))
    assert "text: paper_files for WikiText-2 raw" in pair(other, "RU", "perplexity", "M").differs


@pytest.mark.parametrize("other", [{"split": "train"}, {"subset": "wikitext-103-raw-v1"}])
def test_another_part_of_the_raw_text_is_not_taken_for_the_papers(other: dict[str, str]) -> None:
    made = by_the_protocol({**text_node("paper_hub"), **other})
    mark = ("text: paper_files for WikiText-2 raw",)
    assert pair(made, "SCU", "perplexity", "Mistral").differs == mark


def test_the_text_of_the_committed_runs_is_the_one_cut_into_words() -> None:
    committed = read_folder(EXPERIMENTS / "table1_pruning" / "records")
    assert {made.inputs["text"] == TOKENISED for made in committed} == {True, False}
    for made in committed:
        known = made.inputs["text"] == TOKENISED
        assert known == made.config["data"]["name"].startswith("paper_files")


@pytest.mark.parametrize(
    ("model", "mark"),
    [
        ("Llama-2-7B-Chat", None),
        ("Llama-3-8B-Instruct", "window: 8192 for 4096"),
        ("Mistral-7B-Instruct-v0.2", "window: 32768 for 4096"),
        ("new", "window: max for 4096"),
    ],
)
def test_the_longest_window_is_marked_where_it_is_not_the_papers(
    model: str, mark: str | None
) -> None:
    made = by_the_protocol(text_node("paper_hub"), window="max")
    made = changed(made, lambda config: config["model"].update(name=model))
    found = [item for item in pairs(made) if item.metric == "perplexity"]
    assert found
    windows = {text for item in found for text in item.differs if text.startswith("window")}
    assert windows == (set() if mark is None else {mark})


@pytest.mark.parametrize(
    ("key", "value", "mark"),
    [
        ("max_new_tokens", 16, "tokens: 16 for 256"),
        ("max_new_tokens", 512, "tokens: 512 for 256"),
        ("primary_judge", "other", "judge: other for wei2024"),
    ],
)
def test_every_mismatch_is_marked(key: str, value: object, mark: str) -> None:
    made = changed(record(), lambda config: config["evaluation"].update({key: value}))
    judge = made.config["evaluation"]["primary_judge"]
    found = pair(made, "SCU", f"asr/raw/{judge}", "Llama-2")
    assert mark in found.differs
    assert "model: SmolLM2-135M-Instruct (Q4_1) for Llama-2-7B-Chat" in found.differs
    assert "data: bundled for AdvBench" in found.differs


WEI = deepcopy(read_judges(["wei2024"], [])["wei2024"])


@pytest.mark.parametrize(
    ("judge", "changed_one"),
    [
        (WEI, False),
        ({**WEI, "min_words": 0}, True),
        ({**WEI, "min_distinct": 4}, True),
        ({**WEI, "phrases": ["No"]}, True),
    ],
)
def test_a_changed_judge_does_not_pass_for_the_papers(
    judge: dict[str, Any], changed_one: bool
) -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["evaluation"].update(judges={"wei2024": judge}))
    expected = ("judge: a changed wei2024 for wei2024",) if changed_one else ()
    assert pair(made, "SCU", "asr/raw/wei2024", "Mistral").differs == expected
    assert pair(made, "SCU", "perplexity", "Mistral").differs == ()


def test_another_system_prompt_is_marked_where_it_is_put() -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["evaluation"].update(system_prompt="Be kind."))
    mark = ("system prompt: another for Llama-2's",)
    for style, expected in (("raw", ()), ("raw_system", mark), ("mean", mark)):
        assert pair(made, "SCU", f"asr/{style}/wei2024", "Mistral").differs == expected


@pytest.mark.parametrize(
    ("units", "mark"),
    [
        ({"statistic": "flap"}, "scores: statistic flap for variance"),
        ({"tokens": "all"}, "scores: tokens all for response"),
        ({"square_attention": False}, "scores: square_attention False for True"),
        ({"unweighted": True}, "scores: unweighted True for False"),
        ({"samples": 5}, "scores: samples 5 for 128"),
        ({"scoring": {"_target_": "ssah_exp.units.snip.Snip"}}, "scores: Snip for variance"),
    ],
)
def test_other_scores_are_marked_where_units_are_pruned(units: dict[str, Any], mark: str) -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["units"].update(units))
    assert pair(made, "SCU", "perplexity", "Mistral").differs == (mark,)
    assert pair(made, "aligned", "perplexity", "Mistral").differs == ()


def test_units_set_to_zero_are_marked() -> None:
    made = changed(record(), lambda config: config["ablation"].update(primary_fill="zero"))
    arms = [replace(item, fill="zero" if item.fill else None) for item in made.arms]
    marks = pair(replace(made, arms=arms), "SCU", "perplexity", "Mistral").differs
    assert "fill: zero for a mean" in marks
    assert not any("fill" in text for item in pairs(record()) for text in item.differs)


@pytest.mark.parametrize(
    ("name", "digest", "marked"),
    [
        ("paper_files", GOALS, False),
        ("paper_files_small", GOALS, False),
        ("paper_files", "another", True),
        ("paper_files_raw_text", "another", True),
        ("AdvBench", GOALS, False),
        ("AdvBench", "another", True),
        ("paper_hub", "as the hub has them", False),
    ],
)
def test_requests_are_told_by_their_content(name: str, digest: str, marked: bool) -> None:
    shipped = "paper_hub" if name == "paper_hub" else "paper_files"
    node = deepcopy(dict(config_of(f"data={shipped}").data.harmful_eval))
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["data"].update(name=name, harmful_eval=node))
    made = replace(made, inputs={**made.inputs, "harmful_eval": digest})
    expected = (f"data: {name} with other requests for AdvBench",) if marked else ()
    assert pair(made, "SCU", "asr/raw/wei2024", "Mistral").differs == expected
    # Of fewer goals the content is not known: their number is what differs.
    fewer = replace(made, data={**made.data, "harmful_eval": 36})
    assert pair(fewer, "SCU", "asr/raw/wei2024", "Mistral").differs == ("n: 36 for 100",)


@pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")
@pytest.mark.parametrize(("data", "count"), [("paper_files", 100), ("advbench", 520)])
def test_the_goals_of_the_files_are_known(data: str, count: int) -> None:
    loaded = load_data(config_of(f"data={data}", f"data.root={ROOT}"))
    named = {"name": "paper_files", "harmful_eval": {}}
    made = changed(record(), lambda config: config["data"].update(named))
    for digest, name in ((loaded.fingerprints["harmful_eval"], "AdvBench"), ("another", None)):
        asked = replace(made, inputs={"harmful_eval": digest}, data={"harmful_eval": count})
        assert benchmark_of(asked) == (name or "paper_files with other requests")


def test_n_and_budget_and_mean_are_marked() -> None:
    made = replace(record(), data={**record().data, "harmful_eval": 36})
    made = changed(made, lambda config: config["units"]["budgets"].update(scu=0.05))
    found = pair(made, "SCU", f"asr/mean/{JUDGE}", "Llama-2")
    assert "n: 36 for 100" in found.differs
    more = replace(made, data={**made.data, "harmful_eval": 520})
    assert "n: 520 for 100" in pair(more, "SCU", f"asr/mean/{JUDGE}", "Llama-2").differs
    assert "SCU budget: 0.05 of params for 0.01 of params" in found.differs
    assert any(text.startswith("mean: ") for text in found.differs)
    dense = pair(made, "aligned", f"asr/raw/{JUDGE}", "Llama-2")
    assert not any("budget" in text for text in dense.differs)


@pytest.mark.parametrize(
    ("styles", "mark"),
    [
        (["raw_system", "raw"], ()),
        (["raw"], ("mean: of raw for raw and raw_system",)),
        (["raw", "raw_system", "chat"], ("mean: of raw and raw_system and chat for raw and "
                                         "raw_system",)),
    ],
)  # fmt: skip
def test_a_mean_of_other_styles_is_marked_where_no_suffixes_are_in_the_papers(
    styles: list[str], mark: tuple[str, ...]
) -> None:
    made = by_the_protocol(text_node("paper_hub"))
    made = changed(made, lambda config: config["evaluation"].update(harmful_styles=styles))
    assert pair(made, "SCU", "asr/mean/wei2024", "Mistral").differs == mark
    assert pair(made, "SCU", "asr/raw/wei2024", "Mistral").differs == ()
