"""A config that was composed before is what it was: its texts are no interpolations."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from ssah_exp.config.compose import parse, parse_plain
from tests.config.composing import composed


@pytest.mark.parametrize(
    "text", ["pay ${seed} now", "${foo}", r"\${seed}", r"a\\${b} ${c}", "$x {y} $", "{}"]
)
def test_a_frozen_config_is_read_as_it_was_written(text: str) -> None:
    content = composed("experiment=quickstart")
    config = parse(content)
    config.evaluation.system_prompt = text
    frozen = json.loads(json.dumps(asdict(config)))
    assert parse_plain(frozen) == config


def test_what_is_composed_is_resolved() -> None:
    config = parse(composed("experiment=quickstart", "seed=5", "evaluation.system_prompt=n${seed}"))
    assert config.evaluation.system_prompt == "n5"
