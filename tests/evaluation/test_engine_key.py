"""The version of vLLM is part of what its answers are kept under; the default engine is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages, answering
from tests import tiny
from tests.config.composing import config_of
from tests.pipeline.tiny_run import silent


class Keys:
    """A cache that keeps what it is asked for, and computes nothing."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def partial(self, stage: str, material: Mapping[str, Any]) -> Path:
        return Path(stage)

    def get_or_compute(self, stage: str, material: Mapping[str, Any], *_: Any, **__: Any) -> None:
        self.asked.append(dict(material))


def key_of(engine: str, version: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(answering, "package_version", {"vllm": version}.get)
    cache: Any = Keys()
    stages = Stages(
        config_of(f"evaluation.engine={engine}"), None, cache, silent(), None, tiny.tiny_speech()
    )  # type: ignore[arg-type]
    stages.answers(ModelRef("m", "0", "place", "print"), None, [], [], "arm")
    (key,) = cache.asked
    return key


def test_another_vllm_does_not_take_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (key_of("vllm", version, monkeypatch) for version in ("0.8", "0.9"))
    assert one != other
    assert one["engine"] == other["engine"] == "vllm"


def test_the_default_engine_asks_for_no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (key_of("transformers", version, monkeypatch) for version in ("0.8", "0.9"))
    assert one == other
    assert "engine" not in str(one)
