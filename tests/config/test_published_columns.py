"""Every number the paper prints has a metric here, and a documented command that measures it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.config.identity import science
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.utility import TASK_METRICS
from ssah_exp.data.datasets import load_data
from ssah_exp.evaluation.attack_metrics import attacked_style
from ssah_exp.evaluation.intervals import rate
from ssah_exp.evaluation.metric_names import PERPLEXITY, asr_name, score_name
from ssah_exp.evaluation.mt_bench.names import TURN_NAMES
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN, utility_name
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.beside_paper.pair import PaperPair
from ssah_exp.reporting.beside_paper.training import TRAINING_PAIRS
from tests.config.composing import config_of
from tests.records.synthetic import arm, record, trained_arm
from tests.reporting.beside import changed, pairs
from tests.test_documented_commands import commands, first_job

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
ROOT = os.environ.get("SSAH_DATA_ROOT")
PAGE = "docs/reproducing.md"
TABLES = (TABLE1, *TRAINING_PAIRS)
# Columns that tell rows apart.
KEYS = ("model", "group", "type", "benchmark", "judge", "dataset", "metric")
# Published numbers that no arm's metric stands beside, and why.
ELSEWHERE = {
    "fig5_fig6_transfer": "shares of units, not of answers: ssah-exp transfer, the figure's rows",
}


def documented(artefact: str) -> list[RunConfig]:
    """The configs of the commands that docs/reproducing.md has for a table: its own experiment's.

    What is asked beyond the paper, by experiments that print the same table, has no column there.
    """
    words = [first_job(text) for page, text in commands() if page == PAGE]
    shown = [config_of(*job) for job in words if f"experiment={artefact}" in job]
    papers = [config for config in shown if not config.model.name.startswith("SmolLM2")]
    return [config for config in papers if config.artefact == artefact]


@pytest.mark.parametrize("artefact", [*TRAINING_PAIRS, "frozen_share", "ru_budget"])
def test_large_models_are_not_trained_by_the_embedded_ones_recipe(artefact: str) -> None:
    """A rate of 2e-4 and conversations of 96 tokens are for 135 million weights."""
    shown = documented(artefact)
    assert shown
    for config in shown:
        assert config.units.max_length == 512
        assert config.training.learning_rate == 2e-5
        assert config.training.max_length >= 256


def test_table_3_finds_what_the_command_of_table_2_trained() -> None:
    """All weights of a 7B model are not trained on the one card that adapters need."""
    table_2 = next(c for c in documented("table2_freezing") if c.data.name == "HEx-PHI")
    (table_3,) = documented("table3_peft")
    shared = [arm for arm in table_3.training.arms if arm in table_2.training.arms]
    assert shared == list(table_2.training.arms)
    for name in shared:
        assert table_3.training.arms[name] == table_2.training.arms[name]
    for config in (table_2, table_3):
        config.training.arms = {}
    for part in ("model", "data", "units", "training", "alignment", "seed"):
        assert getattr(table_3, part) == getattr(table_2, part)


def judge_described(node: dict[str, Any]) -> dict[str, Any]:
    """What a judge says of itself, without its weights or endpoint."""
    module, _, name = str(node["_target_"]).rpartition(".")
    kind = getattr(getattr(import_module(module), name), "KIND", None)
    if name == "KeywordJudge":
        return {"kind": "keyword"}
    if kind is not None:
        return {"kind": kind, "name": node["name"]}
    module, _, rubric = str(node["rubric"]["_target_"]).rpartition(".")
    named = getattr(import_module(module), rubric).NAME
    return {"kind": "endpoint", "rubric": {"name": named}}


def metrics_recorded(config: RunConfig) -> Iterable[str]:
    """Names of the metrics that a run of this config records."""
    evaluation = config.evaluation
    yield PERPLEXITY
    styles = [*evaluation.harmful_styles, "mean"]
    for name, attack in evaluation.attacks.items():
        styles += [attacked_style(style, name) for style in attack.styles]
    if evaluation.mean_with is not None:
        styles.append(attacked_style("mean", evaluation.mean_with))
    for judge, node in evaluation.judges.items():
        yield from (asr_name(style, judge) for style in styles)
        if judge_described(node).get("rubric", {}).get("name") == "hexphi":
            for at in (None, 5):
                yield from (score_name(style, judge, at) for style in evaluation.harmful_styles)
    for task in config.utility.tasks:
        yield from (utility_name(task, metric) for metric in TASK_METRICS[task])
    if config.utility.tasks:
        yield UTILITY_MEAN
    if config.mt_bench.judge is not None:
        yield from TURN_NAMES


def run_of(config: RunConfig) -> RunRecord:
    """A record as a run of this config leaves it, every metric with some value."""
    found = {name: rate(1, 2, 0.95) for name in metrics_recorded(config)}
    if config.artefact == TABLE1:
        names = ["aligned", *(f"{name}/pooled" for name in config.ablation.classes)]
        arms: list[ArmRecord] = [arm(name, 0.5) for name in names]
    else:
        arms = [trained_arm(name, 0.5) for name in ("unaligned", "aligned", *config.training.arms)]
    return record(
        artefact=config.artefact,
        config=science(config),
        arms=[replace(made, metrics=found) for made in arms],
        judges={name: judge_described(node) for name, node in config.evaluation.judges.items()},
        attacks={
            name: {"kind": str(attack.method["_target_"]).rpartition(".")[2]}
            for name, attack in config.evaluation.attacks.items()
        },
    )


def what(found: PaperPair) -> tuple[str, str]:
    """What was measured on which arm, whatever the model."""
    row = found.source.partition(", ")[2]
    return found.arm, row or found.metric


def test_every_published_file_is_a_tables_or_has_a_reason() -> None:
    files = {path.parent.name for path in EXPERIMENTS.glob("*/published.csv")}
    assert files == {*TABLES, *ELSEWHERE}


@pytest.mark.parametrize("artefact", TABLES)
def test_every_published_number_stands_beside_a_metric(artefact: str) -> None:
    """Whatever the run's model, and with each of the paper's data to fine-tune on."""
    found: list[PaperPair] = []
    for template in ("{instruction}{output}", "### Instruction:"):
        made = run_of(documented(artefact)[0])

        def asked(config: dict[str, Any], template: str = template) -> None:
            config["model"]["name"] = "another"
            config["data"]["finetune"] = [{"prompt": template}]

        found += pairs(changed(made, asked))
    printed = {(item.source.partition(",")[0], item.published) for item in found}
    table = pd.read_csv(EXPERIMENTS / artefact / "published.csv")
    lacking = [
        (row["model"], column, row[column])
        for row in table.to_dict("records")
        for column in table.columns.difference(KEYS)
        if not {(row["model"], round(float(row[column]) / scale, 12)) for scale in (1, 100)}
        & printed
        and not (column == "share_of_units_pct" and row["group"] == "dense")  # nothing is pruned
    ]
    assert lacking == []


@pytest.mark.parametrize("artefact", TABLES)
def test_every_published_column_is_measured_by_a_documented_command(artefact: str) -> None:
    """On the paper's own requests, by its kind of judge, with its number of questions."""
    every, measured = set(), set()
    for config in documented(artefact):
        for item in pairs(run_of(config)):
            every.add(what(item))
            other = [text for text in item.differs if text.startswith(("data", "shots", "tasks"))]
            if item.measured is not None and not other:
                measured.add(what(item))
    assert every
    assert sorted(every - measured) == []


def test_table_1s_commands_differ_in_nothing_that_a_command_decides() -> None:
    shown = documented(TABLE1)
    assert shown
    for config in shown:
        marks = {text for item in pairs(run_of(config)) for text in item.differs if item.measured}
        # The suffixes are the user's own: the mean that counts them is marked for Llama-2. Sizes
        # of classes follow from the model; here they are made up.
        left = [text for text in marks if not text.startswith(("mean: ", "size: "))]
        others = ["calibration: Llama-2's refusals for the model's own"]  # there are no other ones
        assert left == ([] if config.model.name.startswith("Llama-2") else others)


def test_tables_2_to_4_train_on_the_papers_data() -> None:
    configs = [config for artefact in TRAINING_PAIRS for config in documented(artefact)]
    assert len(configs) >= 6
    for config in configs:
        marks = {text for item in pairs(run_of(config)) for text in item.differs}
        assert [text for text in marks if text.startswith("trained on")] == []


@pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")
@pytest.mark.parametrize(("name", "size"), [("advbench", 520), ("harmbench", 400)])
@pytest.mark.parametrize("aligned", [True, False])
def test_whole_benchmarks_load_and_no_request_was_calibrated_on(
    name: str, size: int, *, aligned: bool
) -> None:
    asked = [f"data={name}", f"data.root='{ROOT}'", *([] if aligned else ["alignment=none"])]
    assert len(load_data(config_of(*asked)).harmful_eval) == size
