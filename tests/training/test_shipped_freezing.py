"""The shipped configs of Table 2: what is frozen on Llama-3 lies in blocks 1 to 12."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from ssah_exp.config.build import build
from ssah_exp.config.schema import BudgetsConfig, TrainingConfig
from ssah_exp.units.selectors import select_units
from tests import tiny
from tests.config.composing import config_of
from tests.units.maps import random_map

ARMS = ("setting_i", "setting_ii")
DEEP = random_map(
    tiny.small_anatomy(layers=15, heads=6, neurons=40, head_parameters=7.5),
    BudgetsConfig(scu=0.1, ucu=0.1, ru=0.2),
)


def training(name: str) -> TrainingConfig:
    return config_of("experiment=table2_freezing", f"training={name}").training


def selected(config: TrainingConfig, arm: str) -> Any:
    selector = build(config.arms[arm].select or {}, "here")
    return select_units(selector, DEEP, 0, "here")


@pytest.mark.parametrize("arm", ARMS)
def test_on_llama_3_units_beyond_block_12_are_left_alone(arm: str) -> None:
    everywhere, low = (
        selected(training("freezing"), arm),
        selected(training("freezing_llama3"), arm),
    )
    first_twelve = DEEP.index.layer < 12  # counted from 0
    assert np.array_equal(low, everywhere & first_twelve)
    assert 0 < low.sum() < everywhere.sum()
    assert set(DEEP.index.layer[low]) == set(range(12))


def test_all_else_is_as_on_the_other_models() -> None:
    def rest(name: str) -> dict[str, Any]:
        content = asdict(training(name))
        for arm in ARMS:
            content["arms"][arm].pop("select")
        return content

    plain, low = rest("freezing"), rest("freezing_llama3")
    assert low == plain
    assert list(low["arms"]) == list(plain["arms"]) == ["full", *ARMS]
