"""Attribute transfer against tables worked out by hand, and against a plain loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.errors import UnitError
from ssah_exp.reporting.transfer_rows import became, transfer_rows
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.transfer import (
    Flow,
    base_classes,
    differences,
    transfer,
)
from ssah_exp.units.unitmap import UnitMap
from tests.tiny import small_anatomy
from tests.units.maps import ANATOMY, PROVENANCE, random_map

S, U, C, R = (int(item) for item in UnitClass)
# Two blocks of one head (weight 4) and four neurons (weight 1).
SMALL = small_anatomy(layers=2, heads=1, neurons=4, head_parameters=4.0)
BEFORE = [C, S, S, U, R, U, C, C, S, R]
AFTER = [C, S, C, U, C, C, C, C, C, R]


def classed(classes: list[int]) -> UnitMap:
    zeros = np.zeros(SMALL.units)
    array = np.array(classes, dtype=np.uint8)
    return UnitMap(SMALL, PROVENANCE, BudgetsConfig(), zeros, zeros, array)


def small(**options: object) -> list[Flow]:
    return transfer(classed(BEFORE), classed(AFTER), **options)  # type: ignore[arg-type]


def test_units_by_hand() -> None:
    (flow,) = small()
    assert flow.units.tolist() == [[1, 0, 2, 0], [0, 1, 1, 0], [0, 0, 3, 0], [0, 0, 1, 1]]
    assert flow.parameters.tolist() == [[1, 0, 2, 0], [0, 1, 4, 0], [0, 0, 6, 0], [0, 0, 1, 1]]
    assert flow.shares()[0, 2] == pytest.approx(0.2)
    assert flow.shares("parameters")[1, 2] == pytest.approx(4 / 16)
    assert flow.kept() == pytest.approx(6 / 10)
    assert flow.kept("parameters") == pytest.approx(9 / 16)
    assert [flow.kept_of(name) for name in CLASSES] == pytest.approx([1 / 3, 1 / 2, 1, 1 / 2])
    assert flow.chance("CU") == pytest.approx(7 / 10)


def test_parts_by_hand() -> None:
    first, second = small(by="layer")
    assert (first.part, second.part) == ("layer 0", "layer 1")
    assert first.units.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    head, neuron = small(by="kind")
    assert (head.part, neuron.part) == ("head", "neuron")
    assert head.units.sum() == 2
    assert head.units[U, C] == head.units[C, C] == 1
    assert np.array_equal(first.units + second.units, head.units + neuron.units)


def test_the_share_that_became_another_class_has_its_wilson_interval() -> None:
    moved = became(small()[0], "SCU", "CU")
    # Wilson's formula, 2 of 3, z = 1.959964.
    z, n, p = 1.959964, 3, 2 / 3
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    margin = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert moved.n == 3
    assert moved.value == pytest.approx(p)
    assert moved.low == pytest.approx(centre - margin, rel=1e-6)
    assert moved.high == pytest.approx(centre + margin, rel=1e-6)


def test_a_class_of_no_units_became_nothing() -> None:
    (flow,) = transfer(classed([C] * 10), classed(AFTER))
    moved = became(flow, "SCU", "CU")
    assert (moved.value, moved.low, moved.high, moved.n) == (None, None, None, 0)
    assert flow.kept_of("SCU") == 0


def plain(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> list[list[int]]:
    table = [[0] * 4 for _ in range(4)]
    for one, other in zip(before, after, strict=True):
        table[one][other] += 1
    return table


@pytest.mark.parametrize("by", ["all", "layer", "kind"])
@pytest.mark.parametrize("base", [False, True])
def test_parts_are_a_partition_and_shares_sum_to_one(by: str, base: bool) -> None:
    before, after = random_map(), random_map(seed=1)
    flows = transfer(before, after, by=by, base=base)
    whole = transfer(before, after, base=base)[0]
    assert len(flows) == {"all": 1, "layer": ANATOMY.layers, "kind": 2}[by]
    assert np.array_equal(sum(flow.units for flow in flows), whole.units)
    assert sum(flow.parameters for flow in flows) == pytest.approx(whole.parameters)
    for flow in flows:
        assert flow.shares().sum() == pytest.approx(1)
        assert flow.shares("parameters").sum() == pytest.approx(1)
    if not base:
        assert whole.units.tolist() == plain(before.classes, after.classes)
    assert whole.parameters.sum() == pytest.approx(before.index.parameters.sum())


def test_a_model_against_itself_keeps_everything() -> None:
    (flow,) = transfer(random_map(), random_map())
    assert flow.kept() == pytest.approx(1)
    assert flow.kept("parameters") == pytest.approx(1)
    assert all(became(flow, name, name).value == 1 for name in CLASSES)


def test_the_way_back_is_the_transposed_table() -> None:
    there = transfer(random_map(), random_map(seed=1))[0]
    back = transfer(random_map(seed=1), random_map())[0]
    assert np.array_equal(there.units, back.units.T)
    assert there.kept() == pytest.approx(back.kept())


def test_margins_are_the_class_sizes() -> None:
    before, after = random_map(), random_map(seed=1)
    (flow,) = transfer(before, after)
    for item in UnitClass:
        assert flow.units[int(item)].sum() == before.select(item).sum()
        assert flow.units[:, int(item)].sum() == after.select(item).sum()
        assert flow.chance(item.name) == pytest.approx(after.select(item).mean())


@pytest.mark.parametrize("unit", ["params", "units"])
def test_a_base_model_is_classed_by_utility_alone(unit: str) -> None:
    units = random_map(budgets=BudgetsConfig(ru=0.2, unit=unit))
    redundant = base_classes(units) == 1
    assert units.utility[redundant].max() < units.utility[~redundant].min()
    weights = units.index.parameters if unit == "params" else np.ones(ANATOMY.units)
    share = weights[redundant].sum() / weights.sum()
    assert 0.2 - weights.max() / weights.sum() < share <= 0.2
    blind = replace(units, safety=np.full_like(units.safety, np.nan))
    assert np.array_equal(base_classes(blind) == 1, redundant)


def test_from_a_base_model_redundant_is_kept_as_ru() -> None:
    utility = np.arange(10, dtype=np.float64)
    budgets = BudgetsConfig(ru=0.2, unit="units")
    base = UnitMap(SMALL, PROVENANCE, budgets, np.zeros(10), utility, np.zeros(10, dtype=np.uint8))
    (flow,) = transfer(base, classed([C, R, R, U, S, C, C, C, C, C]), base=True)
    assert flow.before == ("utility", "redundant")
    assert flow.units.tolist() == [[1, 1, 5, 1], [0, 0, 1, 1]]
    assert flow.kept() == pytest.approx(8 / 10)
    assert flow.kept_of("utility") == pytest.approx(7 / 8)
    assert flow.kept_of("redundant") == pytest.approx(1 / 2)


def test_other_architectures_are_refused_by_name() -> None:
    other = random_map(anatomy=small_anatomy(layers=5, heads=6, neurons=80, head_parameters=7.5))
    with pytest.raises(UnitError, match=r"differ: layers 4 and 5\. Units can be followed"):
        transfer(random_map(), other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small(by="layers"), "by=layers. Did you mean 'layer'"),
        (lambda: small()[0].shares("params"), "of=params. Did you mean 'parameters'"),
        (lambda: became(small()[0], "SCU", "CUU"), "No class 'CUU'. Did you mean 'CU'"),
        (lambda: became(small(base=True)[0], "SCU", "CU"), "No class 'SCU'.*redundant, utility"),
    ],
)
def test_unknown_words_are_refused(call: object, message: str) -> None:
    with pytest.raises(UnitError, match=message):
        call()  # type: ignore[operator]


def test_what_else_differs_is_said() -> None:
    one = random_map()
    assert differences(one, random_map(seed=1)) == []
    other = one.reclassified(BudgetsConfig(scu=0.02))
    assert differences(one, other)[0].startswith("Budgets differ: ")
    origin = replace(PROVENANCE, statistic="flap", calibration={"safety": "9"})
    said = differences(one, replace(one, provenance=origin))
    assert [sentence.split()[1] for sentence in said] == ["statistic", "calibration"]


def test_every_share_of_a_row_is_of_what_its_column_says() -> None:
    """By hand: 10 units weigh 16, since each of the two heads weighs 4; 7 of 10 end as CU."""
    rows = transfer_rows(small()).set_index(["from", "to"])
    moved = rows.loc[("UCU", "CU")]
    assert moved["units"] == 1
    assert moved["share_of_units_pct"] == pytest.approx(10)
    assert moved["share_of_parameters_pct"] == pytest.approx(25)
    assert moved["chance_pct"] == pytest.approx(70)
    assert moved["of_before_pct"] == pytest.approx(50)
    # Wilson's interval of 1 of 2 is 1/2 -+ z / (2 sqrt(2 + z^2)), z = 1.959964.
    half = 100 * 1.959964 / (2 * np.sqrt(2 + 1.959964**2))
    assert (moved["of_before_low"], moved["of_before_high"]) == pytest.approx(
        (50 - half, 50 + half)
    )
    back = rows.loc[("CU", "UCU")]
    assert (back["units"], back["of_before_pct"]) == (0, 0)
    assert back["chance_pct"] == pytest.approx(10)
    parts = transfer_rows(small(by="layer"))
    assert parts["part"].tolist() == ["layer 0"] * 16 + ["layer 1"] * 16
    assert parts["published_share_of_units_pct"].isna().all(), "the paper has the whole model"
