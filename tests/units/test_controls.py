"""Control sets: as many units, in the same places, but others."""

from __future__ import annotations

import numpy as np
import pytest

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.errors import UnitError
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.controls import draw_control
from ssah_exp.units.unitmap import UnitMap
from tests import tiny
from tests.units.maps import ANATOMY, PROVENANCE, random_map

KINDS = ("random", "matched")
UNITS = random_map()
SCU = UNITS.select(UnitClass.SCU)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit_class", [UnitClass.SCU, UnitClass.UCU, UnitClass.RU])
@pytest.mark.parametrize("seed", range(3))
def test_same_count_layers_kinds_and_parameters(
    kind: str, unit_class: UnitClass, seed: int
) -> None:
    target = UNITS.select(unit_class)
    control = draw_control(UNITS, target, kind, seed).mask
    index = UNITS.index
    assert control.sum() == target.sum() > 0
    assert not (control & target).any()
    for layer in range(ANATOMY.layers):
        for number in (0, 1):
            stratum = (index.layer == layer) & (index.kind == number)
            assert (control & stratum).sum() == (target & stratum).sum()
    assert index.parameters[control].sum() == index.parameters[target].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides(kind: str) -> None:
    draws = [draw_control(UNITS, SCU, kind, seed).mask for seed in (0, 0, 1, (0, 1), (0, 1))]
    assert np.array_equal(draws[0], draws[1])
    assert np.array_equal(draws[3], draws[4])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], draws[3])


def test_target_units_include_heads() -> None:
    """Otherwise the tests above say nothing about heads."""
    assert (SCU & (UNITS.index.kind == 0)).any()


@pytest.mark.parametrize("seed", range(5))
def test_matched_is_closer_in_magnitude_than_random(seed: int) -> None:
    gaps = {}
    for kind in KINDS:
        control = draw_control(UNITS, SCU, kind, seed)
        magnitude = UNITS.safety + UNITS.utility
        assert control.magnitude == pytest.approx(magnitude[control.mask].mean())
        assert control.target_magnitude == pytest.approx(magnitude[SCU].mean())
        gaps[kind] = abs(control.magnitude - control.target_magnitude)
    assert gaps["matched"] < 0.8 * gaps["random"]


def test_pool_of_one_takes_the_nearest() -> None:
    """One unit in the class, so its match is known."""
    anatomy = tiny.small_anatomy(layers=1, heads=1, neurons=6)
    safety = np.array([0.0, 5.0, 4.9, 1.0, 9.0, 5.2, 0.0])
    units = UnitMap.from_scores(anatomy, PROVENANCE, BudgetsConfig(), safety, np.zeros(7))
    target = np.arange(7) == 1
    for seed in range(5):
        control = draw_control(units, target, "matched", seed, pool=1)
        assert np.flatnonzero(control.mask).tolist() == [2]
    of_two = {
        int(np.flatnonzero(draw_control(units, target, "matched", seed, pool=2).mask)[0])
        for seed in range(30)
    }
    assert of_two == {2, 5}


@pytest.mark.parametrize("kind", KINDS)
def test_half_of_a_layer_can_be_controlled(kind: str) -> None:
    target = (UNITS.index.layer == 2) & (UNITS.index.index % 2 == 0)
    other = (UNITS.index.layer == 2) & ~target
    assert np.array_equal(draw_control(UNITS, target, kind, 0).mask, other)


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_other_units_are_an_error(kind: str) -> None:
    target = (UNITS.index.layer == 2) & (UNITS.index.kind == 1) & (UNITS.index.index < 41)
    with pytest.raises(UnitError, match=r"Layer 2 has 39 units .* 41 inside"):
        draw_control(UNITS, target, kind, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_target_is_an_error(kind: str) -> None:
    with pytest.raises(UnitError, match="empty"):
        draw_control(UNITS, np.zeros_like(SCU), kind, 0)


def test_unknown_kind_is_an_error() -> None:
    with pytest.raises(UnitError, match="random, matched"):
        draw_control(UNITS, SCU, "nearest", 0)
