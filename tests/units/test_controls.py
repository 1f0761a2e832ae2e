"""Control sets: as many units, in the same places, but others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.errors import UnitError
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.controls import Wording, control_stream, draw_control
from ssah_exp.units.unitmap import UnitMap
from tests import tiny
from tests.units.maps import ANATOMY, PROVENANCE, random_map

UNITS = random_map()
SCU = UNITS.select(UnitClass.SCU)
MOST = ~UNITS.select(UnitClass.UCU)  # too much of every layer for a control outside it


@pytest.mark.parametrize("kind", CONTROLS)
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


@pytest.mark.parametrize("kind", CONTROLS)
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
    for kind in CONTROLS:
        control = draw_control(UNITS, SCU, kind, seed)
        magnitude = UNITS.safety + UNITS.utility
        gaps[kind] = abs(magnitude[control.mask].mean() - magnitude[SCU].mean())
    assert gaps["matched"] < 0.8 * gaps["random"]


def test_a_match_of_the_highest_falls_short_and_less_so_from_a_smaller_pool() -> None:
    """As docs/selectors.md says of matched controls: they are near the class, not equal to it."""
    magnitude = UNITS.safety + UNITS.utility
    highest = magnitude > np.quantile(magnitude, 0.9)
    means = [
        np.mean(
            [
                magnitude[draw_control(UNITS, highest, "matched", seed, pool=pool).mask].mean()
                for seed in range(5)
            ]
        )
        for pool in (20, 5, 1)
    ]
    assert [*means, magnitude[highest].mean()] == sorted([*means, magnitude[highest].mean()])


FARTHEST, LARGEST = (
    UNITS.known(measure) > np.quantile(UNITS.known(measure), 0.9) for measure in ("shift", "norm")
)


def gap(target: np.ndarray, kind: str, values: np.ndarray, seed: int) -> float:
    """How far a control's mean is from the target's."""
    mask = draw_control(UNITS, target, kind, seed).mask
    return float(abs(values[mask].mean() - values[target].mean()))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("kind", "measure", "target"), [("shifted", "shift", FARTHEST), ("normed", "norm", LARGEST)]
)
def test_a_measured_control_is_closer_in_its_measure(
    kind: str, measure: str, target: np.ndarray, seed: int
) -> None:
    gaps = {other: gap(target, other, UNITS.known(measure), seed) for other in CONTROLS}
    assert all(gaps[kind] < 0.8 * gaps[other] for other in CONTROLS if other != kind)


@pytest.mark.parametrize(
    ("kind", "target", "seeds"),
    [
        *(("shifted", FARTHEST, [seed]) for seed in range(5)),
        ("normed", LARGEST, range(20)),  # its few draws of large scores need averaging
    ],
)
def test_and_in_nothing_else(kind: str, target: np.ndarray, seeds: Sequence[int]) -> None:
    size = UNITS.safety + UNITS.utility
    matched, measured = (
        np.mean([gap(target, of, size, seed) for seed in seeds]) for of in ("matched", kind)
    )
    assert matched < measured


@pytest.mark.parametrize(
    ("kind", "measure", "said"), [("shifted", "shift", "far"), ("normed", "norm", "large")]
)
def test_a_map_without_a_measure_has_no_control_by_it(kind: str, measure: str, said: str) -> None:
    with pytest.raises(UnitError, match=rf"does not say how {said} .* Identify the units again"):
        draw_control(replace(UNITS, **{measure: None}), SCU, kind, 0)


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


@pytest.mark.parametrize("kind", CONTROLS)
def test_half_of_a_layer_can_be_controlled(kind: str) -> None:
    target = (UNITS.index.layer == 2) & (UNITS.index.index % 2 == 0)
    other = (UNITS.index.layer == 2) & ~target
    assert np.array_equal(draw_control(UNITS, target, kind, 0).mask, other)


@pytest.mark.parametrize("kind", CONTROLS)
def test_too_few_other_units_are_an_error(kind: str) -> None:
    target = (UNITS.index.layer == 2) & (UNITS.index.kind == 1) & (UNITS.index.index < 41)
    with pytest.raises(UnitError, match=r"Layer 2 has 39 neurons .* 41 in the class.*overlap=true"):
        draw_control(UNITS, target, kind, 0)


@pytest.mark.parametrize("kind", CONTROLS)
def test_empty_target_is_an_error(kind: str) -> None:
    with pytest.raises(UnitError, match="empty"):
        draw_control(UNITS, np.zeros_like(SCU), kind, 0)


def test_unknown_kind_is_an_error() -> None:
    with pytest.raises(UnitError, match="matched, normed, random, shifted"):
        draw_control(UNITS, SCU, "nearest", 0)


@pytest.mark.parametrize(
    ("kind", "number"), [("matched", 0), ("random", 1), ("shifted", 2), ("normed", 3)]
)
def test_streams_are_those_of_published_records(kind: str, number: int) -> None:
    assert control_stream(7, kind, 2) == [7, number, 2]


def test_a_stream_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(UnitError, match="Did you mean 'matched'"):
        control_stream(0, "match", 0)


PINNED = {
    "matched": [1, 6, 41, 48, 67, 77, 89, 101, 164, 174, 177, 185, 195, 262, 275, 279, 312],
    "random": [3, 25, 26, 68, 70, 82, 89, 104, 169, 176, 177, 207, 248, 263, 309, 320, 336],
    "shifted": [5, 26, 32, 43, 48, 65, 89, 117, 141, 176, 177, 183, 248, 263, 268, 271, 306],
    "normed": [3, 28, 46, 58, 71, 79, 87, 145, 170, 174, 175, 231, 237, 263, 294, 296, 327],
}


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_draw_is_pinned(kind: str) -> None:
    """Published records hold draws of these streams: none may become another."""
    drawn = np.flatnonzero(draw_control(UNITS, SCU, kind, control_stream(0, kind, 1)).mask)
    assert drawn.tolist() == PINNED[kind]


def published_draw(
    units: UnitMap, target: np.ndarray, kind: str, seed: list[int], pool: int
) -> np.ndarray:
    """The draw that published records hold, spelled out: which numbers are asked for, and when."""
    draw = np.random.default_rng(seed)
    measured = {"shifted": units.shift, "normed": units.norm}
    importance = measured.get(kind, units.safety + units.utility)
    mask = np.zeros_like(target)
    for stratum in strata(units):
        members = [int(at) for at in stratum if target[at]]
        free = np.array([at for at in stratum if not target[at]])
        if members and kind == "random":
            mask[draw.choice(free, size=len(members), replace=False)] = True
        elif members:
            free = free[np.argsort(importance[free], kind="stable")]
            for member in draw.permutation(members):
                at = int(np.searchsorted(importance[free], importance[member]))
                window = np.arange(max(0, at - pool), min(free.size, at + pool))
                gaps = np.abs(importance[free[window]] - importance[member])
                near = window[np.argsort(gaps, kind="stable")[:pool]]
                pick = draw.choice(near)
                mask[free[pick]] = True
                free = np.delete(free, pick)
    return mask


def strata(units: UnitMap) -> list[np.ndarray]:
    """Positions of each layer's heads, then its neurons, layer after layer."""
    index = units.index
    return [
        np.flatnonzero((index.layer == layer) & (index.kind == kind))
        for layer in range(units.anatomy.layers)
        for kind in (0, 1)
    ]


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("pool", [1, 5, 200])
@pytest.mark.parametrize("rounded", [False, True])
def test_draws_without_overlap_are_those_of_published_records(
    kind: str, pool: int, rounded: bool
) -> None:
    units = UNITS
    if rounded:  # many ties
        units = replace(units, safety=np.round(units.safety), utility=np.round(units.utility))
    for unit_class in (UnitClass.SCU, UnitClass.UCU, UnitClass.RU):
        target = units.select(unit_class)
        for seed in ([0, 1, 0], [5, 0, 2]):
            control = draw_control(units, target, kind, seed, pool=pool)
            assert np.array_equal(control.mask, published_draw(units, target, kind, seed, pool))
            assert control.overlap == 0.0


@pytest.mark.parametrize("kind", CONTROLS)
@pytest.mark.parametrize("seed", range(3))
def test_overlap_keeps_count_layers_and_kinds(kind: str, seed: int) -> None:
    with pytest.raises(UnitError, match="overlap=true"):
        draw_control(UNITS, MOST, kind, seed)
    control = draw_control(UNITS, MOST, kind, seed, overlap=True)
    for stratum in strata(UNITS):
        assert control.mask[stratum].sum() == MOST[stratum].sum()
    assert not np.array_equal(control.mask, MOST)
    shared = (control.mask & MOST).sum() / MOST.sum()
    assert control.overlap == pytest.approx(shared)
    assert 0.7 < shared < 1


def test_random_overlap_is_uniform_over_the_stratum() -> None:
    """Each unit of a layer and kind is drawn with the class's share of it, member or not."""
    draws = 400
    drawn = sum(
        draw_control(UNITS, SCU, "random", seed, overlap=True).mask.astype(int)
        for seed in range(draws)
    )
    for stratum in strata(UNITS):
        share = SCU[stratum].mean()
        spread = np.sqrt(share * (1 - share) / draws)
        assert np.abs(drawn[stratum] / draws - share).max() <= 5 * spread


def pairs(count: int) -> UnitMap:
    """One head, and neurons whose importance comes in pairs: 0, 1, 10, 11, 20, 21, ..."""
    anatomy = tiny.small_anatomy(layers=1, heads=1, neurons=2 * count)
    importance = np.array([0.0, *(10.0 * at + one for at in range(count) for one in (0, 1))])
    return UnitMap.from_scores(
        anatomy,
        PROVENANCE,
        BudgetsConfig(),
        importance,
        np.zeros_like(importance),
        shift=importance,
        norm=importance,
    )


@pytest.mark.parametrize("seed", range(10))
def test_matched_overlap_never_takes_the_unit_itself(seed: int) -> None:
    """Its own score is the nearest of all, yet each unit gets the other one of its pair."""
    units = pairs(6)
    first = np.arange(13) % 2 == 1
    control = draw_control(units, first, "matched", seed, pool=1, overlap=True)
    assert np.flatnonzero(control.mask).tolist() == [2, 4, 6, 8, 10, 12]
    assert control.overlap == 0.0
    # Both units of a pair: they stand for one another.
    both = np.isin(np.arange(13), [5, 6])
    control = draw_control(units, both, "matched", seed, pool=1, overlap=True)
    assert np.flatnonzero(control.mask).tolist() == [5, 6]
    assert control.overlap == 1.0


@pytest.mark.parametrize(("pool", "expected"), [(1, {4}), (2, {2, 4}), (4, {1, 2, 4, 5})])
def test_matched_overlap_pool_counts_other_units(pool: int, expected: set[int]) -> None:
    """Unit 3 scores 10; the nearest others are 4 (11), 2 (1), and 1 (0) and 5 (20) alike."""
    units, target = pairs(6), np.arange(13) == 3
    drawn = set()
    for seed in range(60):
        control = draw_control(units, target, "matched", seed, pool=pool, overlap=True)
        drawn |= set(np.flatnonzero(control.mask).tolist())
    assert drawn == expected


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_class_that_is_a_whole_layer_is_its_own_control(kind: str) -> None:
    """The only head of the layer is left to itself; so is the last of its neurons."""
    units = pairs(3)
    everything = np.ones(7, dtype=bool)
    control = draw_control(units, everything, kind, 0, overlap=True)
    assert control.mask.all()
    assert control.overlap == 1.0


@pytest.mark.parametrize("kind", CONTROLS)
def test_only_units_within_are_drawn(kind: str) -> None:
    within = draw_control(UNITS, MOST, kind, 0, overlap=True).mask
    control = draw_control(UNITS, SCU, kind, 0, overlap=True, within=within).mask
    assert control.sum() == SCU.sum()
    assert not (control & ~within).any()
    with pytest.raises(UnitError, match=r"to draw a control from.* With overlap=true"):
        draw_control(UNITS, SCU, kind, 0, within=np.zeros_like(SCU))
    wording = Wording(bound="what the control's own first phase left alone")
    with pytest.raises(UnitError, match=r"exists\. It is drawn from what the control's own first"):
        draw_control(UNITS, SCU, kind, 0, overlap=True, within=np.zeros_like(SCU), wording=wording)
