"""Processes and device maps: what cannot work together is refused, the rest is not."""

from __future__ import annotations

from typing import Any

import pytest

from ssah_exp.config.plugins import VARIABLE
from ssah_exp.config.schema import ArmConfig, RunConfig
from ssah_exp.config.validate import validate
from tests.config.composing import config_of
from tests.config.test_validate import problems_of


@pytest.fixture
def config() -> RunConfig:
    return config_of("trainer=cpu")


@pytest.fixture
def training() -> RunConfig:
    found = config_of("experiment=table2_freezing", "trainer=cpu")
    found.trainer.devices = 2
    return found


@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp2"])
def test_several_processes(config: RunConfig, training: RunConfig, strategy: str) -> None:
    config.trainer.devices, config.trainer.num_nodes = 4, 2
    for item in (config, training):
        item.trainer.strategy = strategy
        validate(item)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("devices", 0, "trainer.devices=0 is below 1."),
        ("num_nodes", 0, "trainer.num_nodes=0 is below 1."),
        ("strategy", "fsdp", "trainer.strategy=fsdp. Did you mean 'fsdp2'?"),
        (
            "strategy",
            "ddp",
            "trainer.strategy=ddp needs two processes or more: give trainer.devices=2 (or "
            "trainer.num_nodes=2), or trainer.strategy=auto.",
        ),
    ],
)
def test_refused_alone(config: RunConfig, key: str, value: Any, message: str) -> None:
    setattr(config.trainer, key, value)
    assert problems_of(config)[0].startswith(message)


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("model", "device", "cuda:1", "puts every process on one card"),
    ],
)
def test_refused_with_two(
    config: RunConfig, group: str, key: str, value: str, message: str
) -> None:
    config.trainer.devices = 2
    setattr(getattr(config, group), key, value)
    (problem,) = problems_of(config)
    assert message in problem


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [("model", "device", "mps"), ("model", "device", "mps:0"), ("trainer", "accelerator", "mps")],
)
def test_what_has_no_float64_is_refused(
    config: RunConfig, group: str, key: str, value: str
) -> None:
    setattr(getattr(config, group), key, value)
    (problem,) = problems_of(config)
    assert problem.startswith(f"{group}.{key}={value}: Apple's MPS has no float64")


@pytest.mark.parametrize("name", ["foo", "flash_attention_9", "org/repo/more", "", "paged|foo"])
def test_a_kernel_that_transformers_does_not_know_is_refused(config: RunConfig, name: str) -> None:
    config.model.attn_implementation = name
    (problem,) = problems_of(config)
    assert problem.startswith(f"model.attn_implementation={name}.")
    assert "eager, flash_attention_2," in problem


def test_a_kernel_that_is_misspelt_is_told_the_nearest(config: RunConfig) -> None:
    config.model.attn_implementation = "flash_attn_2"
    assert "Did you mean 'flash_attention_2'?" in problems_of(config)[0]


@pytest.mark.parametrize(
    "name",
    [
        "eager",
        "flash_attention_2",
        "flex_attention",
        "paged|eager",
        "paged|sdpa",
        "kernels-community/flash-attn2",
        "org/repo@v1:function",
    ],
)
def test_kernels_that_transformers_knows(config: RunConfig, name: str) -> None:
    config.model.attn_implementation = name
    validate(config)


def test_a_plugin_may_register_a_kernel(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mine")
    config.model.attn_implementation = "mine"
    validate(config)


def test_what_shards_cannot_do(training: RunConfig) -> None:
    training.training.optimizer = "adamw_8bit"
    adapter = {"_target_": "ssah_exp.training.adapters.prefix.Prefix", "tokens": 4}
    training.training.arms = {"prefix": ArmConfig(adapter=adapter)}
    validate(training)
    training.trainer.strategy = "fsdp2"
    first, second = problems_of(training)
    assert "adamw_8bit cannot step on sharded weights" in first
    assert "arms.prefix.adapter: Prefix is attached by hooks" in second


def test_device_maps(config: RunConfig) -> None:
    config.alignment.enabled = False
    for placed in ("auto", "sequential", {"model": 0, "lm_head": "cpu"}):
        config.model.device_map = placed
        validate(config)
    config.model.device_map = "autp"
    assert problems_of(config)[0].startswith("model.device_map=autp. Did you mean 'auto'?")
    config.model.device_map = {"model": "disk"}
    assert problems_of(config) == ["model.device_map names disk; give model.offload_folder."]
    config.model.offload_folder = "somewhere"
    validate(config)
    config.trainer.devices = 2
    assert "drop one of them" in problems_of(config)[0]
    config.trainer.devices, config.alignment.enabled = 1, True
    assert "this run trains it" in problems_of(config)[0]
    config.alignment.enabled, config.model.device_map = False, None
    assert problems_of(config)[0].startswith("model.offload_folder is given")


def test_following_units_in_several_processes_is_refused_once(training: RunConfig) -> None:
    training.training.track.every = 5
    (problem,) = problems_of(training)
    assert problem.startswith("training.track looks at the model of one process")


@pytest.mark.parametrize("minutes", [None, 0, 0.5])
def test_checkpoints_may_be_as_frequent_as_wanted(config: RunConfig, minutes: float | None) -> None:
    config.trainer.checkpoint_minutes = minutes
    validate(config)


def test_time_between_checkpoints_is_not_negative(config: RunConfig) -> None:
    config.trainer.checkpoint_minutes = -1
    assert problems_of(config) == ["trainer.checkpoint_minutes=-1 is below 0."]
