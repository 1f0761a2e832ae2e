"""Selectors: sets worked out by hand, a slow oracle, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ssah_exp.config.build import build
from ssah_exp.config.schema import AblationConfig, BudgetsConfig, ControlsConfig
from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.errors import ConfigError, UnitError
from ssah_exp.pipeline.arms import plan_arms
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.controls import draw_control
from ssah_exp.units.selectors import (
    AllOf,
    AnyOf,
    Blocks,
    Like,
    Not,
    OfClass,
    OfKind,
    Ranked,
    Selector,
    select_units,
)
from ssah_exp.units.unitmap import UnitMap
from tests import tiny
from tests.units.maps import ANATOMY, PROVENANCE, random_map

SELECTORS = "ssah_exp.units.selectors"
UNITS = random_map()
SCU, UCU, CU, RU = UnitClass
RANKINGS = {
    "safety": lambda safety, utility: safety,
    "utility": lambda safety, utility: utility,
    "importance": lambda safety, utility: safety + utility,
    "preference": lambda safety, utility: safety - utility,
}


def small_map() -> UnitMap:
    """Two blocks of one head (weight 3) and four neurons (weight 1): 10 units, 14 parameters.

    Unit:       0    1    2    3    4  |  5    6    7    8    9
    preference: 6   -3    1    0    1  | -2    0   -7    3    2
    importance: 4    1    3    8   -1  |  2   -4    5    1    0
    """
    safety = np.array([5, -1, 2, 4, 0, 0, -2, -1, 2, 1], dtype=np.float64)
    utility = np.array([-1, 2, 1, 4, -1, 2, -2, 6, -1, -1], dtype=np.float64)
    classes = np.array([SCU, UCU, CU, CU, RU, CU, RU, UCU, CU, CU], dtype=np.uint8)
    anatomy = tiny.small_anatomy(layers=2, heads=1, neurons=4, head_parameters=3.0)
    return UnitMap(anatomy, PROVENANCE, BudgetsConfig(), safety, utility, classes)


SMALL = small_map()


def picked(selector: Selector, units: UnitMap = SMALL, seed: int = 0) -> list[int]:
    """Positions of the selected units."""
    mask = select_units(selector, units, seed, "here")
    assert mask.shape == (units.anatomy.units,)
    assert mask.dtype == np.bool_
    return [int(at) for at in np.flatnonzero(mask)]


def refused(selector: Selector, units: UnitMap = SMALL) -> str:
    with pytest.raises(UnitError) as caught:
        select_units(selector, units, 0, "freeze.units")
    return str(caught.value)


# Classes, kinds, blocks


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["SCU"], [0]),
        (["UCU"], [1, 7]),
        (["CU"], [2, 3, 5, 8, 9]),
        (["RU"], [4, 6]),
        (["RU", "SCU"], [0, 4, 6]),
        (["SCU", "UCU", "CU", "RU"], list(range(10))),
    ],
)
def test_classes_by_name(names: list[str], expected: list[int]) -> None:
    assert picked(OfClass(names)) == expected


def test_kinds() -> None:
    assert picked(OfKind("head")) == [0, 5]
    assert picked(OfKind("neuron")) == [1, 2, 3, 4, 6, 7, 8, 9]


def test_blocks_count_from_one_and_include_both_ends() -> None:
    assert picked(Blocks(1, 1)) == [0, 1, 2, 3, 4]
    assert picked(Blocks(2, 2)) == [5, 6, 7, 8, 9]
    assert picked(Blocks(1, 2)) == list(range(10))
    per_block = ANATOMY.heads + ANATOMY.neurons
    assert picked(Blocks(2, 3), UNITS) == list(range(per_block, 3 * per_block))


# Rankings


@pytest.mark.parametrize(
    ("by", "end", "expected"),
    [
        ("safety", "highest", [0, 3]),  # 5, 4; then 2 twice
        ("safety", "lowest", [1, 6]),  # -2, and the first of two -1
        ("utility", "highest", [3, 7]),
        ("utility", "lowest", [0, 6]),  # -2, and the first of four -1
        ("importance", "highest", [3, 7]),
        ("importance", "lowest", [4, 6]),
        ("preference", "highest", [0, 8]),
        ("preference", "lowest", [1, 7]),
    ],
)
def test_each_score_has_two_ends(by: str, end: str, expected: list[int]) -> None:
    assert picked(Ranked(by, end, 0.2, unit="units")) == expected


def test_a_share_of_parameters_counts_weights() -> None:
    # 4 of 14 parameters: the head of weight 3 and one neuron, where units allow for two anyway.
    assert picked(Ranked("safety", "highest", 4 / 14)) == [0, 3]
    assert picked(Ranked("safety", "highest", 3 / 14)) == [0]
    # Lowest importance: 6 (-4), 4 (-1), 9 (0), 1 (1), 8 (1), then the head 5 (2).
    assert picked(Ranked("importance", "lowest", 5 / 14)) == [1, 4, 6, 8, 9]
    assert picked(Ranked("importance", "lowest", 7 / 14)) == [1, 4, 6, 8, 9]  # head too heavy
    assert picked(Ranked("importance", "lowest", 8 / 14)) == [1, 4, 5, 6, 8, 9]


def test_of_ranks_within_a_set_only() -> None:
    cu = OfClass(["CU"])
    # CU are 2, 3, 5, 8, 9 with safety 2, 4, 0, 2, 1; the model has ten units.
    assert picked(Ranked("safety", "highest", 0.2, of=cu, unit="units")) == [2, 3]
    assert picked(Ranked("safety", "lowest", 0.2, of=cu, unit="units")) == [5, 9]


def test_share_of_the_set_or_of_the_model() -> None:
    cu = OfClass(["CU"])
    # By number: 40 % of CU's five are two units, of the model's ten four.
    by_units = Ranked("safety", "highest", 0.4, of=cu, unit="units")
    assert picked(replace(by_units, share_of="set")) == [2, 3]
    assert picked(by_units) == [2, 3, 8, 9]
    # By parameters: CU has 7 (the head weighs 3), the model 14.
    by_params = Ranked("safety", "highest", 3 / 7, of=cu)
    assert picked(replace(by_params, share_of="set")) == [2, 3, 8]
    assert picked(replace(by_params, share=4 / 14)) == [2, 3, 8, 9]


def test_a_share_of_one_takes_the_whole_set() -> None:
    for unit in ("params", "units"):
        whole = Ranked("safety", "highest", 1.0, of=OfClass(["CU"]), unit=unit, share_of="set")
        assert picked(whole) == [2, 3, 5, 8, 9]
        assert picked(Ranked("utility", "lowest", 1.0, unit=unit)) == list(range(10))


def test_defaults_are_parameters_of_the_whole_model() -> None:
    short = Ranked("safety", "highest", 0.3, OfClass(["CU"]))
    assert short == Ranked("safety", "highest", 0.3, OfClass(["CU"]), "params", "model")


def brute_force(units: UnitMap, asked: Ranked, within: list[int]) -> set[int]:
    """Take units one by one, best first and earlier ones first on ties, while they fit."""
    scores = [
        RANKINGS[asked.by](float(safety), float(utility))
        for safety, utility in zip(units.safety, units.utility, strict=True)
    ]
    sizes = [float(size) if asked.unit == "params" else 1.0 for size in units.index.parameters]
    sign = 1 if asked.end == "lowest" else -1
    counted = within if asked.share_of == "set" else range(len(sizes))
    room = asked.share * sum(sizes[at] for at in counted) + 1e-9
    taken: set[int] = set()
    for at in sorted(within, key=lambda at: (sign * scores[at], at)):
        if sizes[at] > room:
            break
        room -= sizes[at]
        taken.add(at)
    return taken


@pytest.mark.parametrize("share_of", ["model", "set"])
@pytest.mark.parametrize("unit", ["params", "units"])
@pytest.mark.parametrize("end", ["highest", "lowest"])
@pytest.mark.parametrize("by", list(RANKINGS))
def test_rankings_agree_with_taking_units_one_by_one(
    by: str, end: str, unit: str, share_of: str
) -> None:
    rough = replace(UNITS, safety=np.round(UNITS.safety, 1), utility=np.round(UNITS.utility, 1))
    seen = set()
    for units in (UNITS, rough):  # the rough one has many ties
        for of in (None, OfClass(["CU"]), AllOf([Blocks(2, 4), Not(OfClass(["RU"]))])):
            within = list(range(ANATOMY.units)) if of is None else picked(of, units)
            for share in (0.02, 0.1, 0.37):
                asked = Ranked(by, end, share, of, unit, share_of)
                expected = brute_force(units, asked, within)
                if expected:
                    assert set(picked(asked, units)) == expected
                else:
                    assert "matches no unit" in refused(asked, units)
                seen.add(len(expected))
    assert len(seen) >= 3


def test_the_classes_are_rankings() -> None:
    """UCU is assigned last, so nothing is taken from it; alone, RU and SCU are whole, too."""
    ucu = Ranked("preference", "lowest", 0.1)
    assert picked(ucu, UNITS) == picked(OfClass(["UCU"]), UNITS)
    for name, by, end in (("RU", "importance", "lowest"), ("SCU", "preference", "highest")):
        shares = {"scu": 0.0, "ucu": 0.0, "ru": 0.0, name.lower(): 0.15}
        units = random_map(budgets=BudgetsConfig(**shares))
        assert picked(Ranked(by, end, 0.15), units) == picked(OfClass([name]), units)


# Combinations


def test_union_intersection_complement() -> None:
    scu, head = OfClass(["SCU"]), OfKind("head")
    assert picked(AnyOf([scu, head, OfClass(["RU"])])) == [0, 4, 5, 6]
    assert picked(AllOf([head, Blocks(2, 2)])) == [5]
    assert picked(AllOf([OfClass(["CU"]), OfKind("neuron"), Blocks(1, 1)])) == [2, 3]
    assert picked(Not(head)) == picked(OfKind("neuron"))
    assert picked(Not(AnyOf([scu, OfClass(["CU"])]))) == [1, 4, 6, 7]
    assert picked(AnyOf([scu])) == picked(AllOf([scu])) == [0]


@pytest.mark.parametrize("seed", range(3))
def test_set_algebra(seed: int) -> None:
    units = random_map(seed=seed)
    one, other = Ranked("safety", "highest", 0.4), Blocks(2, 3)
    both, either = AllOf([one, other]), AnyOf([one, other])
    assert set(picked(both, units)) == set(picked(one, units)) & set(picked(other, units))
    assert set(picked(either, units)) == set(picked(one, units)) | set(picked(other, units))
    assert picked(Not(either), units) == picked(AllOf([Not(one), Not(other)]), units)


# Controls


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("of", [OfClass(["SCU"]), AllOf([Blocks(2, 4), OfClass(["RU", "UCU"])])])
def test_a_control_copies_layers_kinds_and_parameters(control: str, of: Selector) -> None:
    target = select_units(of, UNITS, 0, "here")
    mask = select_units(Like(of, control, 0), UNITS, 0, "here")
    index = UNITS.index
    assert not (mask & target).any()
    for place in np.unique(np.stack([index.layer, index.kind]), axis=1).T:
        here = (index.layer == place[0]) & (index.kind == place[1])
        assert (mask & here).sum() == (target & here).sum()
    assert index.parameters[mask].sum() == index.parameters[target].sum()


@pytest.mark.parametrize("control", CONTROLS)
def test_seed_and_draw_decide_a_control(control: str) -> None:
    scu = OfClass(["SCU"])
    first = picked(Like(scu, control, 0), UNITS, seed=3)
    assert first == picked(Like(scu, control, 0), UNITS, seed=3)
    held = Ranked("safety", "highest", 1.0, AnyOf([Not(Not(Like(scu, control, 0)))]))
    assert first == picked(held, UNITS, seed=3), "whatever holds it"
    assert first != picked(Like(scu, control, 1), UNITS, seed=3)
    assert first != picked(Like(scu, control, 0), UNITS, seed=4)


def test_controls_are_those_of_the_pruning_table() -> None:
    controls = ControlsConfig(kinds=list(CONTROLS), of=["SCU"], draws=2, match_pool=4)
    ablation = AblationConfig(
        classes=["SCU"], fills=["zero"], primary_fill="zero", fills_of=["SCU"], controls=controls
    )
    arms = [arm for arm in plan_arms(UNITS, ablation, 7, with_unaligned=False) if arm.control]
    assert len(arms) == 2 * len(CONTROLS)
    for arm in arms:
        assert arm.mask is not None
        like = Like(OfClass(["SCU"]), str(arm.control), int(arm.draw or 0), pool=4)
        assert np.array_equal(arm.mask, select_units(like, UNITS, 7, "here"))


@pytest.mark.parametrize(("measure", "said"), [("shift", "far"), ("norm", "large")])
def test_units_are_ranked_by_what_a_map_holds_beside_its_scores(measure: str, said: str) -> None:
    measured = np.array([0.0, 9.0, -1.0, 3.0, 8.0, 2.0, 1.0, -2.0, 4.0, 5.0])
    units = replace(SMALL, **{measure: measured})
    assert picked(Ranked(measure, "highest", 0.2, unit="units"), units) == [1, 4]
    assert picked(Ranked(measure, "lowest", 0.2, unit="units"), units) == [2, 7]
    assert f"does not say how {said}" in refused(Ranked(measure, "highest", 0.2))


def test_the_pool_reaches_the_draw() -> None:
    """Unit 3 (importance 8) is alone; its block's other neurons 2, 1 and 4 have 3, 1 and -1."""
    target = Ranked("importance", "highest", 0.1, unit="units")
    for pool, expected in ((1, {2}), (2, {1, 2}), (3, {1, 2, 4})):
        draws = [picked(Like(target, "matched", draw, pool)) for draw in range(40)]
        assert {at for draw in draws for at in draw} == expected


def test_overlap_reaches_the_draw() -> None:
    most = OfClass(["SCU", "CU"])
    assert "With Like.overlap=true" in refused(Like(most, "random", 0), UNITS)
    target = select_units(most, UNITS, 0, "here")
    expected = draw_control(UNITS, target, "random", [0, 1, 0], overlap=True)
    assert expected.overlap > 0.5
    mask = select_units(Like(most, "random", 0, overlap=True), UNITS, 0, "here")
    assert np.array_equal(mask, expected.mask)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_draws_nothing_that_is_excluded(control: str) -> None:
    ru, scu = OfClass(["RU"]), OfClass(["SCU"])
    without = [Like(ru, control, draw, exclude=scu) for draw in range(5)]
    held = set(picked(scu, UNITS))
    assert any(held & set(picked(replace(like, exclude=None), UNITS)) for like in without)
    assert not any(held & set(picked(like, UNITS)) for like in without)
    assert "It is drawn from what Like.exclude leaves" in refused(
        Like(ru, control, 0, exclude=Not(ru)), UNITS
    )


# YAML


def node(selector: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{SELECTORS}.{selector}", **arguments}


def test_every_selector_can_be_nested_in_yaml() -> None:
    scu = node("OfClass", names=["SCU"])
    rank = node("Ranked", by="safety", end="lowest", share=0.5, of=node("OfKind", kind="neuron"))
    like = node("Like", of=scu, control="matched", draw=2, overlap=True)
    part = node("AllOf", of=[node("Not", of=scu), node("Blocks", first=1, last=2), rank])
    built = build(node("AnyOf", of=[like, part]), "here")
    inner = Ranked("safety", "lowest", 0.5, OfKind("neuron"))
    expected = [
        Like(OfClass(["SCU"]), "matched", 2, overlap=True),
        AllOf([Not(OfClass(["SCU"])), Blocks(1, 2), inner]),
    ]
    assert built == AnyOf(expected)


# Errors


def test_nothing_selected_is_an_error_that_names_place_and_selector() -> None:
    units = replace(SMALL, classes=np.full(10, CU, dtype=np.uint8))
    message = refused(OfClass(["SCU"]), units)
    assert message == "freeze.units: OfClass(names=['SCU']) matches no unit of tiny/model."
    assert "AllOf(of=[" in refused(AllOf([OfClass(["SCU"]), OfClass(["RU"])]))
    assert "Not(of=" in refused(Not(Blocks(1, 2)))
    # Block 1's head weighs 3 of 14 parameters and comes first.
    assert "share=0.2" in refused(Ranked("preference", "highest", 0.2))


@pytest.mark.parametrize(
    ("wrap", "place"),
    [
        (lambda scu: AnyOf([OfKind("head"), scu]), "of.1"),
        (lambda scu: AllOf([scu, OfKind("head")]), "of.0"),
        (lambda scu: Not(scu), "of"),
        (lambda scu: Ranked("safety", "highest", 0.5, of=scu), "of"),
        (lambda scu: Like(scu, "random", 0), "of"),
        (lambda scu: Not(AnyOf([OfKind("head"), scu])), "of: of.1"),
    ],
)
def test_a_part_that_matches_nothing_is_an_error(wrap: Any, place: str) -> None:
    units = replace(SMALL, classes=np.full(10, CU, dtype=np.uint8))
    message = refused(wrap(OfClass(["SCU"])), units)
    assert message.startswith(f"freeze.units: {place}: OfClass(names=['SCU']) matches no unit")


@dataclass(frozen=True)
class Fixed:
    """A selector that gives what it is told to."""

    mask: Any

    def select(self, units: UnitMap, seed: int) -> Any:
        return self.mask


@pytest.mark.parametrize(
    "mask",
    [np.ones(9, dtype=bool), np.ones((10, 1), dtype=bool), np.ones(10), np.arange(10)],
    ids=["short", "column", "floats", "positions"],
)
def test_a_mask_of_another_length_or_type_is_an_error(mask: np.ndarray) -> None:
    assert refused(Fixed(mask)).startswith("freeze.units: Fixed(")
    assert "not a bool mask of (10,)" in refused(AnyOf([OfKind("head"), Fixed(mask)]))
    assert picked(Fixed(np.ones(10, dtype=bool))) == list(range(10))


def test_blocks_beyond_the_model_are_an_error() -> None:
    message = refused(Blocks(2, 3))
    assert message.startswith("freeze.units: Blocks.last=3 is out of range")
    assert "2 blocks" in message


WRONG = [
    (lambda: OfClass(["SCU", "UUC"]), r"OfClass.names=UUC. Did you mean 'UCU'\? Allowed: CU, RU"),
    (lambda: OfClass([]), r"OfClass.names=\[\] is not a list"),
    (lambda: OfClass("SCU"), r"OfClass.names='SCU' is not a list"),
    (lambda: OfKind("heads"), r"OfKind.kind=heads. Did you mean 'head'\?"),
    (lambda: Blocks(0, 3), r"Blocks.first=0 is below 1"),
    (lambda: Blocks(3, 2), r"Blocks.last=2 comes before Blocks.first=3"),
    (lambda: Ranked("saftey", "lowest", 0.1), r"Ranked.by=saftey. Did you mean 'safety'\?"),
    (lambda: Ranked("safety", "low", 0.1), r"Ranked.end=low. Did you mean 'lowest'\?"),
    (lambda: Ranked("safety", "lowest", 0.1, unit="param"), r"Ranked.unit=param. Did you mean"),
    (lambda: Ranked("safety", "lowest", 0.1, share_of="sets"), r"Ranked.share_of=sets. Did you"),
    (lambda: Ranked("safety", "lowest", 0.0), r"Ranked.share=0 lies outside \(0, 1\]"),
    (lambda: Ranked("safety", "lowest", 20), r"Ranked.share=20 lies outside"),
    (lambda: Ranked("safety", "lowest", float("nan")), r"Ranked.share=nan lies outside"),
    (lambda: Ranked("safety", "lowest", 0.1, of="CU"), r"Ranked.of='CU' is not a selector"),
    (lambda: AnyOf([]), r"AnyOf.of=\[\] is not a list"),
    (lambda: AnyOf(OfKind("head")), r"AnyOf.of=OfKind\(kind='head'\) is not a list"),
    (lambda: AllOf([OfKind("head"), {"names": []}]), r"AllOf.of.1=.* is not a selector"),
    (lambda: Not("SCU"), r"Not.of='SCU' is not a selector"),
    (lambda: Like("SCU", "random", 0), r"Like.of='SCU' is not a selector"),
    (lambda: Like(OfKind("head"), "match", 0), r"Like.control=match. Did you mean 'matched'\?"),
    (lambda: Like(OfKind("head"), "random", -1), r"Like.draw=-1 is below 0"),
    (lambda: Like(OfKind("head"), "matched", 0, pool=0), r"Like.pool=0 is below 1"),
    (lambda: Like(OfKind("head"), "random", 0.5), r"Like.draw=0.5 is not a whole number"),
    (lambda: Like(OfKind("head"), "random", True), r"Like.draw=True is not a whole number"),
    (lambda: Like(OfKind("head"), "random", "1"), r"Like.draw='1' is not a whole number"),
    (lambda: Like(OfKind("head"), "random", 0, overlap="no"), r"Like.overlap='no' is neither"),
    (lambda: Like(OfKind("head"), "random", 0, exclude="SCU"), r"Like.exclude='SCU' is not a sel"),
    (lambda: Like(OfKind("head"), ["random"], 0), r"Like.control=\['random'\]. "),
    (lambda: Blocks(1, 2.5), r"Blocks.last=2.5 is not a whole number"),
    (lambda: Ranked("safety", "lowest", "0.1x"), r"Ranked.share='0.1x' is not a number"),
    (lambda: Ranked("safety", "lowest", "0.1"), r"Ranked.share='0.1' is not a number"),
    (lambda: Ranked("safety", "lowest", True), r"Ranked.share=True is not a number"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_wrong_arguments_are_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(UnitError, match=message):
        make()


def test_wrong_arguments_in_yaml_are_refused_before_anything_runs() -> None:
    deep = node("Not", of=node("AnyOf", of=[node("OfClass", names=["SCUU"])]))
    with pytest.raises(UnitError, match="Did you mean 'SCU'"):
        build(deep, "here")
    with pytest.raises(ConfigError, match=r"Unknown key 'here.of.0.name'"):
        build(node("AnyOf", of=[node("OfClass", name=["SCU"])]), "here")


@dataclass(frozen=True)
class Overwriting:
    """A selector of somebody's own that forgets to copy."""

    array: str

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        scores = getattr(units, self.array)
        scores[:5] = 0
        return np.asarray(scores > 0)


@pytest.mark.parametrize("array", ["safety", "utility", "classes"])
def test_no_selector_changes_the_scores_that_controls_are_drawn_from(array: str) -> None:
    units, asked = random_map(), Overwriting(array)
    for selector in (asked, Not(asked), AllOf([asked, OfClass(["CU"])])):
        with pytest.raises(UnitError, match=r"^here: .*writes into the UnitMap .*copy\(\)"):
            select_units(selector, units, 0, "here")
    assert np.array_equal(getattr(units, array), getattr(random_map(), array))
    assert getattr(units, array).flags.writeable, "the map itself is as it was"
