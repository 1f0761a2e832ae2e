"""The selectors of ``conf/selector``: each is what it says, and takes something everywhere."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from ssah_exp.config.build import build
from ssah_exp.config.compose import conf_dir
from ssah_exp.units.selectors import AllOf, AnyOf, Blocks, OfClass, Ranked, Selector, select_units
from tests.config.composing import composed, names_of
from tests.units.maps import ANATOMY, random_map
from tests.units.test_selectors import CU, SCU, UNITS, picked


@cache
def shipped() -> dict[str, Any]:
    """Every option of the group, placed where a config asks for it."""
    names = names_of("selector")
    content = composed(*(f"+selector@some.place.{name}={name}" for name in names))
    some = OmegaConf.to_container(content.some)
    assert isinstance(some, dict)
    return dict(some["place"])


def shipped_selector(name: str) -> Selector:
    selector = build(shipped()[name], f"some.place.{name}")
    assert isinstance(selector, Selector)
    return selector


def test_the_shipped_group_is_complete() -> None:
    assert set(names_of("selector")) == set(SHIPPED)
    for name in SHIPPED:
        text = (conf_dir() / "selector" / f"{name}.yaml").read_text(encoding="utf-8")
        assert [line.startswith("#") for line in text.splitlines()].count(True) == 1


LOWEST = {
    "lowest20_params": Ranked("importance", "lowest", 0.2),
    "lowest20_units": Ranked("importance", "lowest", 0.2, unit="units"),
    "lowest20_utility": Ranked("utility", "lowest", 0.2),
    "ucu20": Ranked("preference", "lowest", 0.2),
}
TOP_CU = Ranked("safety", "highest", 0.06, of=OfClass(["CU"]), share_of="set")
SHIPPED = {
    "scu": OfClass(["SCU"]),
    "ru": OfClass(["RU"]),
    "scu_cu_all": OfClass(["SCU", "CU"]),
    "scu_cu6": AnyOf([OfClass(["SCU"]), TOP_CU]),
    "prefers_safety": Ranked("preference", "highest", 0.01),
    "scu_cu6_blocks1_12": AllOf([Blocks(1, 12), AnyOf([OfClass(["SCU"]), TOP_CU])]),
    "scu_cu_all_blocks1_12": AllOf([Blocks(1, 12), OfClass(["SCU", "CU"])]),
    **LOWEST,
}
DEEP = replace(ANATOMY, layers=14)  # some name blocks up to the twelfth


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_shipped_selector_is_built_and_selects(name: str) -> None:
    selector = shipped_selector(name)
    assert selector == SHIPPED[name]
    for seed in range(3):
        units = random_map(DEEP, seed=seed)
        assert 0 < len(picked(selector, units)) < DEEP.units


@pytest.mark.parametrize("name", sorted(LOWEST))
def test_the_shipped_shares_are_a_fifth(name: str) -> None:
    mask = select_units(shipped_selector(name), UNITS, 0, "here")
    weights = UNITS.index.parameters if LOWEST[name].unit == "params" else np.ones(mask.size)
    share = weights[mask].sum() / weights.sum()
    # Short of a fifth by less than the one unit that no longer fitted.
    assert 0.2 - weights.max() / weights.sum() < share <= 0.2


def test_shipped_scu_cu6_is_scu_and_six_percent_of_cu() -> None:
    mask = select_units(shipped_selector("scu_cu6"), UNITS, 0, "here")
    scu, cu = UNITS.select(SCU), UNITS.select(CU)
    assert mask[scu].all()
    assert not mask[~scu & ~cu].any()
    assert UNITS.safety[mask & cu].min() >= UNITS.safety[cu & ~mask].max()
    sizes = UNITS.index.parameters
    room = 0.06 * sizes[cu].sum() - sizes[mask & cu].sum()
    assert 0 <= room < sizes.max()
