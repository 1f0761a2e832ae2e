"""Adapters as arms of a training table."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.config.schema import ArmConfig, Target
from ssah_exp.pipeline.opened import Finished
from ssah_exp.reporting.artefacts import render_artefact
from tests.pipeline.tiny_run import computed, of_class, run, training_config
from tests.pipeline.trained import (
    arm_of,
    changeable,
    count,
    entry_of,
    moved,
    training_of,
    units_of,
    weights_of,
)

pytest.importorskip("peft")

FOLDER = "ssah_exp.training.adapters"
LORA: Target = {"_target_": f"{FOLDER}.lora.Lora", "rank": 3, "alpha": 6}
UNIT_LORA: Target = {"_target_": f"{FOLDER}.unit_lora.UnitLora", "rank": 3, "alpha": 6}
PREFIX: Target = {"_target_": f"{FOLDER}.prefix.Prefix", "tokens": 4}
ARMS = {
    "full": ArmConfig(),
    "lora": ArmConfig(adapter=LORA),
    "unit_lora": ArmConfig(
        "budget", of_class("CU"), controls=["random"], overlap=True, adapter=UNIT_LORA, epochs=2
    ),
    "prefix": ArmConfig(adapter=PREFIX, learning_rate=0.1, epochs=2),
}
TRAINED = [*ARMS, "unit_lora/random/0"]


@pytest.fixture(scope="module")
def adapted(place: Path) -> Finished:
    config = training_config(place, ARMS, "others")
    config.artefact = "table3_peft"
    return run(config)


def test_every_adapter_lowers_the_loss_and_is_measured(adapted: Finished) -> None:
    start = arm_of(adapted, "aligned").metrics
    for name in TRAINED:
        arm = arm_of(adapted, name)
        assert arm.metrics.keys() == start.keys() | {"epochs", "trained_share"}
        assert arm.metrics["train_loss"].value < start["train_loss"].value  # type: ignore[operator]
        assert arm.metrics["perplexity"].value != start["perplexity"].value, "it is in use"
        assert training_of(adapted, name)["certificate"]["changed_weights"] > 0


def test_lora_changes_projections_and_nothing_else(adapted: Finished) -> None:
    changed = moved(weights_of(adapted, "align"), weights_of(adapted, "train lora"))
    assert {name for name, mask in changed.items() if mask.any()} == {
        name for name in changed if "_proj." in name
    }


def test_unit_lora_keeps_to_the_chosen_units(adapted: Finished) -> None:
    changed = moved(weights_of(adapted, "align"), weights_of(adapted, "train unit_lora"))
    may = changeable("budget", units_of(adapted, "CU"))
    assert count({name: changed[name] & ~may[name] for name in may}) == 0
    assert count(changed) > 0.5 * count(may)
    certificate = training_of(adapted, "unit_lora")["certificate"]
    assert certificate["changeable_weights"] == count(may)


def test_its_control_trains_as_many_other_units(adapted: Finished) -> None:
    arm, control = arm_of(adapted, "unit_lora"), arm_of(adapted, "unit_lora/random/0")
    assert control.units == arm.units
    changed = moved(weights_of(adapted, "align"), weights_of(adapted, "train unit_lora/random/0"))
    may = changeable("budget", units_of(adapted, "CU"))
    assert count({name: changed[name] & ~may[name] for name in may}) > 0


def test_a_prefix_stays_beside_weights_that_do_not_move(adapted: Finished) -> None:
    folder = entry_of(adapted, "train prefix")
    changed = moved(weights_of(adapted, "align"), weights_of(adapted, "train prefix"))
    assert count(changed) == 0
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    certificate = training_of(adapted, "prefix")["certificate"]
    weights = sum(mask.numel() for mask in changed.values())
    assert certificate["frozen_weights"] == weights
    beside = 3 * 2 * 4 * 2 * 10  # layers, keys and values, tokens, key-value heads, width
    assert certificate["changeable_weights"] == beside
    share = arm_of(adapted, "prefix").metrics["trained_share"].value
    assert share == pytest.approx(beside / (weights + beside))


def test_adapters_are_found_again(adapted: Finished, place: Path) -> None:
    config = training_config(place, ARMS, "others")
    config.artefact = "table3_peft"
    assert computed(run(config)) == []
    config.training.arms["lora"].adapter = {**LORA, "rank": 2}
    assert computed(run(config)) == ["train lora", "answers lora", "losses lora"]


def test_the_table_names_them(adapted: Finished) -> None:
    text = render_artefact([adapted.record], "markdown")
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines()]
    for row in (["lora", "Lora"], ["unit_lora", "UnitLora"], ["prefix", "Prefix"]):
        assert row in cells
    assert ["random like unit_lora", "UnitLora"] in cells


def test_an_adapter_beside_the_weights_leaves_no_delta(adapted: Finished) -> None:
    deltas = {path.stem for path in (adapted.folder / "deltas").iterdir()}
    assert deltas == {"unit_lora", "unit_lora-random-0"}
