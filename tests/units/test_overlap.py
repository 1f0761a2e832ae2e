"""Overlap of a class between models, against shuffling within layers and kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from ssah_exp.errors import UnitError
from ssah_exp.reporting.figures.drawing import CLASS_COLOURS
from ssah_exp.reporting.figures.overlap import draw_overlap
from ssah_exp.reporting.overlap_rows import overlap_rows
from ssah_exp.units.agreement import Spread
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.overlap import Overlap, chance_shared, overlaps
from tests.tiny import small_anatomy
from tests.units.maps import random_map


def test_counts_and_jaccard_are_those_of_plain_sets() -> None:
    maps = {name: random_map(seed=seed) for seed, name in enumerate(("a", "b", "c"))}
    found = overlaps(maps, UnitClass.SCU)
    assert [(item.first, item.second) for item in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    for item in found:
        mine, theirs = (
            set(np.flatnonzero(maps[name].select(UnitClass.SCU)))
            for name in (item.first, item.second)
        )
        assert item.units == (len(mine), len(theirs))
        assert item.shared == len(mine & theirs)
        assert item.jaccard == pytest.approx(len(mine & theirs) / len(mine | theirs))


def test_chance_is_what_shuffling_gives() -> None:
    one, other = random_map(), random_map(seed=1)
    mine, theirs = one.select(UnitClass.CU), other.select(UnitClass.CU)
    found = chance_shared(one.index, mine, theirs, 4000, np.random.default_rng(0))
    draw = np.random.default_rng(1)
    shuffled = []
    for _ in range(1000):
        moved = theirs.copy()
        for layer in range(one.anatomy.layers):
            for kind in (0, 1):
                here = np.flatnonzero((one.index.layer == layer) & (one.index.kind == kind))
                moved[here] = moved[draw.permutation(here)]
        shuffled.append(int((mine & moved).sum()))
    assert found.mean() == pytest.approx(np.mean(shuffled), rel=0.01)
    assert found.std() == pytest.approx(np.std(shuffled), rel=0.1)


def test_equal_maps_overlap_beyond_chance_and_unrelated_ones_do_not() -> None:
    same, strange = overlaps({"a": random_map(), "again": random_map()}, UnitClass.SCU) + overlaps(
        {"a": random_map(), "b": random_map(seed=1)}, UnitClass.SCU
    )
    assert same.jaccard == 1
    assert same.at_chance == pytest.approx(1 / 2001)
    assert strange.chance.low <= strange.jaccard <= strange.chance.high  # type: ignore[operator]
    assert strange.at_chance > 0.02


def test_chance_that_overlaps_as_much_is_chance() -> None:
    """Shuffled as often as one likes, all units are all units."""
    one = random_map()
    whole = replace(one, classes=np.full_like(one.classes, UnitClass.CU))
    (found,) = overlaps({"a": whole, "b": whole}, UnitClass.CU)
    assert found.at_chance == 1


def test_an_empty_class_has_no_overlap() -> None:
    one = random_map()
    none = replace(one, classes=np.full_like(one.classes, UnitClass.CU))
    (found,) = overlaps({"a": none, "b": none}, UnitClass.SCU)
    assert (found.jaccard, found.chance.mean, found.units) == (None, None, (0, 0))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UnitError, match="needs two"):
        overlaps({"a": random_map()}, UnitClass.SCU)
    with pytest.raises(UnitError, match="draws=99 is below 100"):
        overlaps({"a": random_map(), "b": random_map()}, UnitClass.SCU, draws=99)
    other = random_map(anatomy=small_anatomy(layers=4, heads=6, neurons=81))
    with pytest.raises(UnitError, match="architectures"):
        overlaps({"a": random_map(), "b": other}, UnitClass.SCU)


def test_the_numbers_beside_the_picture_keep_each_models_own_count_and_null(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    """Picture, csv and json are made of these rows, and were only compared with one another."""
    found = [
        Overlap("a", "b", (30, 20), 10, 0.25, Spread(0.1, 0.05, 0.15), 0.002),
        Overlap("a", "c", (30, 0), 0, None, Spread(None, None, None), 1.0),
    ]
    pair, empty = overlap_rows(found).astype({"jaccard": "float64"}).to_dict("records")
    assert pair == {
        **{"first": "a", "second": "b", "first_units": 30, "second_units": 20, "shared": 10},
        **{"jaccard": 0.25, "chance_mean": 0.1, "chance_low": 0.05, "chance_high": 0.15},
        "p_at_chance": 0.002,
    }
    assert (empty["first_units"], empty["second_units"], empty["shared"]) == (30, 0, 0)
    assert np.isnan([empty[name] for name in ("jaccard", "chance_mean", "chance_low")]).all()
    draw_overlap(found, UnitClass.SCU, tmp_path / "overlap.svg")
    (axes,) = drawn[0].axes
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]  # type: ignore[attr-defined]
    assert bars == [pytest.approx((0.05, 0.1)), (0, 0)]
    assert axes.lines[0].get_xdata()[0] == 0.25  # type: ignore[index]
    assert list(axes.lines[0].get_ydata()) == [0, 1]  # type: ignore[call-overload]
    assert axes.lines[0].get_color() == CLASS_COLOURS["SCU"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a / b", "a / c"]
    assert list(axes.get_yticks()) == [0, 1]
    assert axes.yaxis_inverted(), "the first pair is the uppermost"
    assert axes.get_xlabel() == "Jaccard overlap of SCU"
