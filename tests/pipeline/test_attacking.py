"""From the attempts of an attack to the questions that an arm is asked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ssah_exp.cache import Entry
from ssah_exp.config.schema import AttackConfig
from ssah_exp.data.sources import Example
from ssah_exp.evaluation.attacks import Attempt
from ssah_exp.pipeline.attacking import questions_under_attack, requests_of
from tests.config.composing import config_of
from tests.tiny import tiny_speech

EXAMPLES = (
    Example("w1", category="a"),
    Example("w2", category="b"),
    Example("w1", category="c"),  # in words that another has, too
)


def test_a_request_asked_twice_keeps_both_its_categories(tmp_path: Path) -> None:
    config = config_of()
    attack = AttackConfig({}, ["raw", "chat"])
    config.evaluation.attacks = {"late": attack}
    requests = requests_of(EXAMPLES, attack)
    attempts = [[asdict(Attempt(f"{item.prompt} w9"))] for item in requests]
    (tmp_path / "attempts.json").write_text(json.dumps(attempts), encoding="utf-8")
    found = Entry(tmp_path, "key", "attempts", "digest", cached=True, seconds=0)
    data = SimpleNamespace(harmful_eval=EXAMPLES)
    stages: Any = SimpleNamespace(config=config, data=data, speech=tiny_speech())
    questions, _ = questions_under_attack(stages, "late", found)
    assert [(item.style, item.prompt, item.category) for item in questions] == [
        (f"{style}+late", prompt, category)
        for style in ("raw", "chat")
        for prompt, category in (("w1", "a"), ("w2", "b"), ("w1", "c"))
    ]
