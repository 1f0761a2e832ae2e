"""``_target_`` nodes: what is built, and what is refused before anything is called."""

from __future__ import annotations

from typing import Any

import pytest

from ssah_exp.config.build import build
from ssah_exp.data.sources import BundledSource, RefusedRequests
from ssah_exp.errors import ConfigError, UnitError
from ssah_exp.evaluation.judges import KeywordJudge

JUDGE = "ssah_exp.evaluation.judges.KeywordJudge"
FILE = "ssah_exp.data.sources.FileSource"


def bundled(**changes: Any) -> dict[str, Any]:
    return {
        "_target_": "ssah_exp.data.sources.BundledSource",
        "name": "refusals.csv",
        "prompt": "{text}",
        **changes,
    }


def refusal_of(node: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        build(node, "here")
    return str(caught.value)


def test_builds_with_plain_containers() -> None:
    judge = build({"_target_": JUDGE, "name": "n", "phrases": ["a", "b"]}, "here")
    assert judge == KeywordJudge("n", ["a", "b"])
    assert type(judge.phrases) is list


def test_builds_nested_nodes() -> None:
    node = {
        "_target_": "ssah_exp.data.sources.RefusedRequests",
        "requests": bundled(),
        "refusals": bundled(where={"category": "any"}),
    }
    source = build(node, "here")
    assert isinstance(source, RefusedRequests)
    assert source.refusals == BundledSource(
        "{text}", where={"category": "any"}, name="refusals.csv"
    )


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${name}", "???", "a ${nothing} b"])
def test_texts_are_not_resolved_again(text: str) -> None:
    """Escaped in somebody's file, one would be looked up here, past the check of what files may."""
    node = {"_target_": JUDGE, "name": "n", "phrases": [text], "source": text}
    judge = build(node, "here", KeywordJudge)
    assert (judge.phrases, judge.source) == ([text], text)


def test_optimizers_are_allowed() -> None:
    assert refusal_of({"_target_": "torch.optim.SGD", "lr": 0.1}) == "here.params is missing."


def test_a_mistyped_class_names_the_nearest() -> None:
    message = refusal_of({"_target_": "ssah_exp.units.selectors.OfClas"})
    assert "is not a class: ssah_exp.units.selectors has no 'OfClas'. Did you mean 'OfClass'?" in (
        message
    )
    assert "Allowed: AllOf, AnyOf, Blocks, " in message
    assert "UnitMap" not in message  # which that module only imports
    assert "importable" not in message  # Hydra's own words for it


def test_what_a_constructor_refuses_is_told_with_its_place_however_deep() -> None:
    wrong = {"_target_": "ssah_exp.units.selectors.OfClass", "names": ["SCV"]}
    right = {**wrong, "names": ["SCU"]}
    both = {"_target_": "ssah_exp.units.selectors.AnyOf", "of": [right, wrong]}
    with pytest.raises(UnitError, match=r"^here.of.of.1: OfClass.names=SCV. Did you mean "):
        build({"_target_": "ssah_exp.units.selectors.Not", "of": both}, "here")


def test_refuses_a_node_without_target() -> None:
    assert "here has no _target_" in refusal_of({"name": "x"})


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "collections.Counter"},
        {"_target_": "ssah_expert.Thing"},
        {**bundled(), "where": {"_target_": "collections.Counter"}},
        {**bundled(), "where": {"split": {"_target_": "collections.Counter"}}},
        {**bundled(), "where": {"split": [{"deep": {"_target_": "collections.Counter"}}]}},
        {"_target_": JUDGE, "name": "n", "phrases": ["a", {"_target_": "collections.Counter"}]},
    ],
)
def test_refuses_targets_outside_the_allow_list_at_any_depth(node: dict[str, Any]) -> None:
    assert "is not allowed: targets start with ssah_exp." in refusal_of(node)


@pytest.mark.parametrize(
    "module", ["ssah_exp.records.provenance.subprocess.Popen", "ssah_exp.cache.Path"]
)
def test_refuses_classes_that_a_module_of_ours_only_imports(module: str) -> None:
    message = refusal_of({"_target_": module, "args": ["true"]})
    assert "is not allowed" in message
    assert module.rpartition(".")[2] in message


@pytest.mark.parametrize("target", ["ssah_exp.data.sources.FileSauce", "ssah_exp.digest.digest_of"])
def test_refuses_what_is_no_class(target: str) -> None:
    assert f"here._target_={target} is not a class" in refusal_of({"_target_": target})


def test_an_unknown_argument_names_the_nearest() -> None:
    message = refusal_of({"_target_": JUDGE, "name": "n", "phrase": ["a"], "phrases": []})
    assert "Unknown key 'here.phrase'. Did you mean 'phrases'?" in message


def test_a_missing_argument_is_named() -> None:
    assert refusal_of({"_target_": JUDGE, "name": "n"}) == "here.phrases is missing."


def test_nested_arguments_are_checked_and_all_problems_listed() -> None:
    node = {
        "_target_": "ssah_exp.data.sources.RefusedRequests",
        "requests": bundled(promt="x"),
        "refusals": {"_target_": FILE},
        "per_reqest": 2,
    }
    message = refusal_of(node)
    assert "Unknown key 'here.requests.promt'. Did you mean 'prompt'?" in message
    assert "here.refusals.prompt is missing." in message
    assert "here.refusals.path is missing." in message
    assert "Unknown key 'here.per_reqest'. Did you mean 'per_request'?" in message
    assert len(message.splitlines()) == 4


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("records.trackers.WandbTracker", {"completions": "no"}, "true or false"),
        ("records.trackers.WandbTracker", {"deltas": 0}, "true or false"),
        ("evaluation.judges.KeywordJudge", {"phrases": "Sorry"}, "a list"),
        ("evaluation.judges.KeywordJudge", {"phrases": ["a", 1]}, "a list of which each is a text"),
        ("evaluation.judges.KeywordJudge", {"min_words": True}, "a whole number"),
        ("data.sources.FileSource", {"path": None}, "a text"),
        ("data.sources.FileSource", {"every": 1.5}, "a whole number"),
        ("data.sources.FileSource", {"stop": "ten"}, "a whole number or null"),
        ("data.sources.FileSource", {"where": None}, "a mapping"),
        ("data.mixtures.Poisoned", {"harmful_share": "half"}, "a number"),
        ("data.mixtures.Poisoned", {"benign": "alpaca"}, "a mapping"),
        ("training.adapters.lora.Lora", {"rank": 1.5}, "a whole number"),
    ],
)
def test_values_of_another_kind_are_refused(
    target: str, given: dict[str, Any], message: str
) -> None:
    """Some would pass for something: "no" for yes, a text for a list of its letters."""
    (name, value), *_ = given.items()
    problems = refusal_of({"_target_": f"ssah_exp.{target}", **given}).splitlines()
    assert f"here.{name}={value} is not {message}." in problems


def test_whole_numbers_are_numbers() -> None:
    lora = build({"_target_": "ssah_exp.training.adapters.lora.Lora", "rank": 2, "alpha": 4}, "x")
    assert lora.alpha == 4
