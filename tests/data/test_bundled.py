"""The data that ships: enough of it, balanced, leak-free, and judged as it should be."""

from __future__ import annotations

from collections import Counter

import pytest

from ssah_exp.config.build import build
from ssah_exp.data.datasets import RunData, check_no_overlap, load_data
from ssah_exp.data.sources import BundledSource, BundledText, Example
from ssah_exp.evaluation.judges import KeywordJudge, Verdict
from tests.config.composing import config_of, names_of


def bundled(name: str, prompt: str, **options: object) -> list[Example]:
    return BundledSource(prompt, name=name, **options).load(0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_data(config_of())


@pytest.fixture(scope="module", params=["wei2024", "zou2023"])
def phrases(request: pytest.FixtureRequest) -> KeywordJudge:
    """A shipped judge without its length rule: does the list alone recognise a refusal?"""
    node = config_of(f"+judge@evaluation.judges.extra={request.param}").evaluation.judges["extra"]
    return build({**node, "min_words": 0}, "judge")


def test_both_keyword_judges_ship() -> None:
    assert {"wei2024", "zou2023"} <= set(names_of("judge"))


def test_harmful_requests_are_many_and_cover_many_categories() -> None:
    rows = bundled("harmful_requests.csv", "{request}", category="{category}")
    assert len(rows) >= 150
    assert len({row.prompt for row in rows}) == len(rows)
    assert len({row.category for row in rows}) >= 10


@pytest.mark.parametrize("split", ["train", "eval"])
def test_harmful_splits_are_balanced(split: str) -> None:
    rows = bundled("harmful_requests.csv", "{category}", where={"split": split})
    counts = Counter(row.prompt for row in rows)
    assert len(counts) >= 10
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(rows) >= 50


def test_every_row_belongs_to_one_of_the_two_splits() -> None:
    for name in ("harmful_requests.csv", "benign_requests.csv"):
        assert {row.prompt for row in bundled(name, "{split}")} == {"train", "eval"}


def test_benign_requests_are_many_and_all_answered() -> None:
    rows = bundled("benign_requests.csv", "{request}", response="{answer}")
    assert len(rows) >= 150
    assert len({row.prompt for row in rows}) == len(rows)
    assert all(row.response and len(row.response.split()) >= 5 for row in rows)


def test_there_are_several_general_refusals_and_some_for_every_category() -> None:
    refusals = Counter(row.prompt for row in bundled("refusals.csv", "{category}"))
    categories = {row.prompt for row in bundled("harmful_requests.csv", "{category}")}
    assert refusals["any"] >= 5
    assert set(refusals) == {"any"} | categories
    assert min(refusals.values()) >= 1


def test_every_refusal_is_recognised_by_its_words(phrases: KeywordJudge) -> None:
    texts = [row.prompt for row in bundled("refusals.csv", "{text}")]
    missed = [
        text
        for text, verdict in zip(texts, phrases.judge(texts, texts), strict=True)
        if verdict is not Verdict.REFUSED
    ]
    assert missed == []


def test_every_benign_answer_is_recognised_as_an_answer(phrases: KeywordJudge) -> None:
    texts = [row.prompt for row in bundled("benign_requests.csv", "{answer}")]
    wrong = [
        text
        for text, verdict in zip(texts, phrases.judge(texts, texts), strict=True)
        if verdict is not Verdict.COMPLIED
    ]
    assert wrong == []


def test_the_prose_is_long_enough_for_perplexity() -> None:
    text = BundledText("prose.txt").load_text()
    assert len(text.split()) >= 3000
    assert text.count("\n\n") >= 10


def test_the_default_config_loads_every_set(data: RunData) -> None:
    sizes = {name: len(rows) for name, rows in data.example_sets.items()}
    assert sizes["safety_calibration"] == sizes["utility_calibration"] == 128
    assert sizes["alignment"] >= 250
    assert sizes["harmful_eval"] >= 50
    assert sizes["benign_eval"] >= 40
    assert sizes["borderline_eval"] >= 40
    assert set(data.fingerprints) == {*sizes, "text"}


def test_requests_are_paired_with_refusals_of_their_own_category(data: RunData) -> None:
    allowed = {
        (row.prompt, row.category)
        for row in bundled("refusals.csv", "{text}", category="{category}")
    }
    assert all(
        (row.response, row.category) in allowed or (row.response, "any") in allowed
        for row in data.safety_calibration
    )


def test_evaluation_and_training_do_not_overlap(data: RunData) -> None:
    check_no_overlap(data.example_sets)
    trained = {row.prompt for row in data.alignment}
    assert trained.isdisjoint(row.prompt for row in data.harmful_eval)
    assert trained.isdisjoint(row.prompt for row in data.borderline_eval)


def test_the_seed_decides_pairs_and_calibration_but_not_evaluation(data: RunData) -> None:
    other, again = load_data(config_of("seed=1")), load_data(config_of())
    assert again.fingerprints == data.fingerprints
    moved = {name for name, mark in data.fingerprints.items() if other.fingerprints[name] != mark}
    assert moved == {"alignment", "safety_calibration", "utility_calibration"}
