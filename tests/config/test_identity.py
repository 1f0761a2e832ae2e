"""The run id: moved by everything that decides the result, and by nothing else."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest

from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import RunConfig, Target
from tests.config.composing import config_of, put

PRINTS = {"model": "m", "alignment": "a", "harmful_eval": "h", "text": "t"}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return config_of("data=paper_files")


def changed(config: RunConfig, dotted: str, value: object) -> RunConfig:
    """A copy with one value replaced."""
    other = deepcopy(config)
    put(other, dotted, value)
    return other


def test_it_is_twelve_hex_digits_and_the_same_every_time(config: RunConfig) -> None:
    first = run_id(config, PRINTS)
    assert first == run_id(deepcopy(config), dict(reversed(PRINTS.items())))
    assert len(first) == 12
    assert int(first, 16) >= 0


WANDB: Target = {"_target_": "ssah_exp.records.trackers.WandbTracker", "project": "other"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("paths.root", "/somewhere/else"),
        ("trainer.accelerator", "cpu"),
        ("trainer.devices", 8),
        ("trainer.num_nodes", 2),
        ("trainer.strategy", "fsdp2"),
        ("trainer.progress", False),
        ("tracker.target", None),
        ("tracker.target", WANDB),
        ("model.device", "cuda:1"),
        ("model.device_map", "auto"),
        ("model.device_map", {"": "cpu"}),
        ("model.offload_folder", "/somewhere"),
        ("model.attn_implementation", "eager"),
        ("units.batch_size", 3),
        ("evaluation.batch_size", 3),
        ("evaluation.share_prefix", False),
        ("evaluation.perplexity.batch_size", 3),
        ("data.root", "/other/data"),
        ("data.text.path", "/other/data/wikitext2/test.txt"),
    ],
)
def test_where_and_how_fast_changes_nothing(config: RunConfig, key: str, value: object) -> None:
    other = changed(config, key, value)
    assert other != config
    assert run_id(other, PRINTS) == run_id(config, PRINTS)


def test_no_sets_and_no_callbacks_are_as_before_there_could_be_any(config: RunConfig) -> None:
    assert "sets" not in science(config)["ablation"]
    budget = config_of("experiment=table4_alignment_budget")
    assert "callbacks" not in science(budget)["training"]
    budget.training.callbacks = {"norms": {"_target_": "lab.Norms"}}
    assert science(budget)["training"]["callbacks"] == budget.training.callbacks


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("ablation.sets", {"heads": {"_target_": "ssah_exp.units.selectors.OfKind", "kind": "h"}}),
        ("units.budgets.scu", 0.02),
        ("units.budgets.ru", 0.0),
        ("units.budgets.overlap", "refill"),
        ("units.samples", 64),
        ("units.statistic", "flap"),
        ("units.unweighted", True),
        ("alignment.learning_rate", 2e-4),
        ("alignment.batch_size", 4),
        ("alignment.enabled", False),
        ("ablation.controls.draws", 4),
        ("ablation.controls.overlap", True),
        ("ablation.controls.exclude", ["SCU"]),
        ("evaluation.max_new_tokens", 128),
        ("evaluation.system_prompt", "Be kind."),
        ("evaluation.perplexity.window", 512),
        ("evaluation.perplexity.bos", True),
        ("evaluation.perplexity.bos", False),
        ("evaluation.judges.zou2023.phrases", ["No"]),
        ("model.precision", "bfloat16"),
        ("model.chat_template", "{{ messages[0]['content'] }}"),
        ("data.harmful_eval.stop", 99),
    ],
)
def test_what_decides_the_result_changes_it(config: RunConfig, key: str, value: object) -> None:
    assert run_id(changed(config, key, value), PRINTS) != run_id(config, PRINTS)


def test_a_judge_may_be_called_as_a_place_is(config: RunConfig) -> None:
    """Places are left out; what only has their name is not."""
    ids = {run_id(config, PRINTS)}
    for phrases in (["No"], ["Never"]):
        node = {**config.evaluation.judges["zou2023"], "phrases": phrases}
        ids.add(run_id(changed(config, "evaluation.judges.path", node), PRINTS))
    assert len(ids) == 3


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_so_does_the_content_of_every_input(config: RunConfig, name: str) -> None:
    assert run_id(config, {**PRINTS, name: "edited"}) != run_id(config, PRINTS)


RECORDS = Path(__file__).parents[2] / "experiments/table1_pruning/records"


@pytest.mark.parametrize(("seed", "known"), [(0, "3869f92cdba3"), (1, "28f251a93435")])
def test_a_run_on_record_keeps_its_id(seed: int, known: str) -> None:
    record = json.loads((RECORDS / f"{known}.json").read_text(encoding="utf-8"))
    config = config_of("experiment=quickstart", f"seed={seed}")
    assert science(config) == record["config"]
    assert run_id(config, record["inputs"]) == known


def test_the_id_of_a_config_is_pinned(config: RunConfig) -> None:
    assert run_id(config, PRINTS) == "651bfc43e0e4"


SOURCE: Target = {"_target_": "ssah_exp.data.sources.FileSource", "prompt": "{q}"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.finetune", [SOURCE]), ("data.preferences", SOURCE), ("training.epochs", 99)],
)
def test_what_a_pipeline_does_not_read_changes_its_runs_not_at_all(
    config: RunConfig, key: str, value: object
) -> None:
    assert run_id(changed(config, key, value), PRINTS) == run_id(config, PRINTS)
    training = changed(config, "artefact", "table2_freezing")
    if key == "data.preferences":  # read by DPO alone
        assert run_id(changed(training, key, value), PRINTS) == run_id(training, PRINTS)
        training = changed(training, "training.objective", "dpo")
    assert run_id(changed(training, key, value), PRINTS) != run_id(training, PRINTS)


def test_alignment_values_count_only_while_it_is_on(config: RunConfig) -> None:
    off = changed(config, "alignment.enabled", False)
    assert run_id(changed(off, "alignment.epochs", 9), PRINTS) == run_id(off, PRINTS)


def test_seed_0_is_a_seed_of_its_own(config: RunConfig) -> None:
    ids = {run_id(changed(config, "seed", seed), PRINTS) for seed in (0, 1, 2)}
    assert len(ids) == 3
    assert science(changed(config, "seed", 0))["seed"] == 0


def test_the_science_part_leaves_the_config_as_it_was(config: RunConfig) -> None:
    before = deepcopy(config)
    science(config)
    assert config == before
