"""What a probe's config may not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.build import build
from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError
from tests.config.composing import config_of


@pytest.fixture
def config() -> RunConfig:
    return config_of("experiment=probe")


def test_the_shipped_experiment_is_the_papers(config: RunConfig) -> None:
    probe = config.probe
    assert probe.steps == [2, 4, 6, 8, 10]
    assert probe.distances == ["cosine"]
    assert len(probe.benign) == len(probe.malicious) >= 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("style", "chatt", "Did you mean 'chat'"),
        ("distances", ["cosin"], "Did you mean 'cosine'"),
        ("distances", [], r"probe\.distances is empty"),
        ("continuation", "owns", "Did you mean 'own'"),
        ("steps", [], r"probe\.steps is empty"),
        ("steps", [4, 2], "must rise"),
        ("steps", [0, 2], r"probe\.steps=0 is below 1"),
        ("benign", [], r"probe\.benign is empty"),
        ("malicious", ["Sure", " "], r"probe\.malicious holds a blank"),
        ("benign", ["Sure, here is"], "twice: Sure, here is"),
        ("smoothing", 4, "is even"),
        ("folds", 1, r"probe\.folds=1 is below 2"),
        ("shuffles", 0, r"probe\.shuffles=0 is below 1"),
        ("strength", 0.0, r"probe\.strength=0 lies outside"),
    ],
)
def test_each_wrong_value_is_named(config: RunConfig, key: str, value: Any, message: str) -> None:
    setattr(config.probe, key, value)
    with pytest.raises(ConfigError, match=message):
        validate(config)
    config.artefact = "table1_pruning"
    validate(config)  # which does not read it


def test_what_it_would_ignore_is_refused(config: RunConfig) -> None:
    config.utility.tasks = ["winogrande"]
    config.mt_bench.judge = {"_target_": "ssah_exp.evaluation.judges.EndpointJudge"}
    config.evaluation.engine = "vllm"
    with pytest.raises(ConfigError) as raised:
        validate(config)
    for message in ("no harness tasks", "no MT-bench", "gives no hidden states"):
        assert message in str(raised.value)


RECORD = Path(__file__).parents[2] / (
    "experiments/fig2_fig3_fig4_fig7_probe/records/a833a3043bc5.json"
)


def test_a_run_on_record_keeps_its_id() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    config = config_of(
        "experiment=probe",
        "data=paper_files_small",
        "seed=2",
        "data.benign_eval.every=2",
        "data.borderline_eval.every=5",
    )
    assert science(config) == record["config"]
    assert run_id(config, record["inputs"]) == RECORD.stem


def test_a_judge_that_counts_words_needs_longer_answers() -> None:
    with pytest.raises(ConfigError, match="'wei2024' counts an answer of under 20 words"):
        config_of("experiment=probe", "evaluation=table1")


def test_a_number_of_words_that_is_none_is_left_to_the_judge() -> None:
    """It was compared with the steps, which ended in a traceback; the judge's class refuses it."""
    config = config_of("experiment=probe", "evaluation.judges.zou2023.min_words=abc")
    with pytest.raises(ConfigError, match=r"min_words=abc is not a whole number"):
        build(config.evaluation.judges["zou2023"], "evaluation.judges.zou2023")


def test_what_decides_a_probe(config: RunConfig) -> None:
    first = run_id(config, {})
    config.units.budgets.scu = 0.03
    config.evaluation.max_new_tokens = 99
    config.ablation.classes = []
    assert run_id(config, {}) == first
    config.probe.steps = [2, 4]
    assert run_id(config, {}) != first


def test_other_artefacts_do_not_read_it(config: RunConfig) -> None:
    config.artefact = "table1_pruning"
    first = run_id(config, {})
    config.probe.steps = [2, 4]
    assert run_id(config, {}) == first
