"""What docs/extending.md shows runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ssah_exp.pipeline.opened import Finished
from tests.config.composing import config_of
from tests.pipeline.tiny_run import run, tiny_config, training_config
from tests.plugins import Install

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"


def block(language: str, number: int = 0) -> str:
    shown = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(shown[number])


def commands() -> list[list[str]]:
    """Overrides of the commands shown."""
    text = block("sh", 1).replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in text.splitlines()]


@pytest.fixture
def mylab(install: Install) -> str:
    return install(block("python"), name="mylab")


def test_the_pruning_table(finished: Finished, place: Path, mylab: str) -> None:
    shown = config_of(*commands()[0])
    config = tiny_config(place)
    config.ablation.sets = {
        name: {**node, "blocks": 1, "count": 3} for name, node in shown.ablation.sets.items()
    }
    config.ablation.controls = shown.ablation.controls
    config.evaluation.judges["terse"] = shown.evaluation.judges["terse"]
    record = run(config).record
    arms = {arm.name: arm for arm in record.arms}
    assert arms["late/pooled"].units == arms["late/pooled/matched/0"].units == 3
    assert arms["aligned"].metrics["asr/raw/terse"].value is not None
    assert record.judges["terse"] == {"kind": "terse", "words": 3}
    assert record.inputs["plugin.mylab"]


def test_the_training_table(finished: Finished, place: Path, mylab: str) -> None:
    shown = config_of(*commands()[1])
    full = {"full": shown.training.arms["full"]}
    config = training_config(place, full, "extending")
    config.training.callbacks = shown.training.callbacks
    (arm,) = (arm for arm in run(config).record.arms if arm.arm == "full")
    assert arm.training is not None
    losses = arm.training["losses"]
    assert arm.metrics["watched/losses/range"].value == max(losses) - min(losses)


def test_every_place_of_the_table_is_one() -> None:
    rows = re.findall(r"^\| `(.*?)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 8
