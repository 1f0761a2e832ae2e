"""Tiny runs that compute on whichever device there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ssah_exp.config.schema import ArmConfig, RunConfig
from ssah_exp.pipeline.opened import Finished
from tests.pipeline.test_adapter_arms_run import LORA, UNIT_LORA
from tests.pipeline.test_dpo_run import dpo_config
from tests.pipeline.tiny_run import furnish, of_class, run, tiny_config, training_config

_ARMS = {
    "full": ArmConfig(),
    "frozen": ArmConfig("freeze", of_class("SCU", "CU")),
    "budget": ArmConfig("budget", of_class("RU")),
    "lora": ArmConfig(adapter=LORA),
    "unit_lora": ArmConfig("budget", of_class("CU"), adapter=UNIT_LORA),
}


def _trained(place: Path) -> RunConfig:
    return training_config(place, _ARMS)


def _on_any_device(configured: Callable[[Path], RunConfig], place: Path) -> Finished:
    torch.set_num_threads(1)
    config = configured(furnish(place))
    config.trainer.accelerator = "auto"
    return run(config)


def _kind(configured: Callable[[Path], RunConfig]) -> Callable[[Path], Finished]:
    return lambda place: _on_any_device(configured, place)


RUNS = {"pruned": _kind(tiny_config), "trained": _kind(_trained), "preferred": _kind(dpo_config)}
