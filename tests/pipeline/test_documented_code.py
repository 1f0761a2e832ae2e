"""What docs/extending.md and docs/python.md show runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.pipeline.opened import Finished
from tests.config.composing import config_of
from tests.pipeline.tiny_run import run, tiny_config, training_config
from tests.plugins import Install

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "extending.md"


def block(language: str, number: int = 0, page: Path = PAGE) -> str:
    shown = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
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
    assert len(rows) == 9


def test_the_chain_from_python_is_what_a_run_does(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(place)
    config.alignment.enabled = False
    config.evaluation.harmful_styles = ["raw"]
    code = block("python", page=DOCS / "python.md")
    for shown, tiny in (
        ('config = parse(compose("config", overrides))', "config = CONFIG"),
        ("Decoding(16,", f"Decoding({config.evaluation.max_new_tokens},"),
    ):
        assert code.count(shown) == 1
        code = code.replace(shown, tiny)
    monkeypatch.setenv("SSAH_ROOT", str(tmp_path))
    names: dict[str, Any] = {"CONFIG": config}
    exec(code, names)  # our own page
    arms = {arm.name: arm for arm in run(config).record.arms}
    for name, arm in (("scu", "SCU/pooled"), ("control", "SCU/pooled/matched/0")):
        answered, perplexity = names["results"][name]
        assert answered.value == arms[arm].metrics["asr/raw/first"].value
        assert perplexity.value == pytest.approx(arms[arm].metrics["perplexity"].value, rel=1e-6)
