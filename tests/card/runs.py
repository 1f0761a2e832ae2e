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


RUNS: dict[str, Callable[[Path], RunConfig]] = {
    "pruned": tiny_config,
    "trained": _trained,
    "preferred": dpo_config,
}


def run_of(kind: str, place: Path) -> Finished:
    """A run of one of these kinds, in a folder."""
    torch.set_num_threads(1)
    config = RUNS[kind](furnish(place))
    config.trainer.accelerator = "auto"
    return run(config)
