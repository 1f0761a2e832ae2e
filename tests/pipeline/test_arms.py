"""Which arms a table has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ssah_exp.config.schema import AblationConfig, BudgetsConfig, ControlsConfig
from ssah_exp.errors import UnitError
from ssah_exp.models.sizes import KINDS
from ssah_exp.pipeline.arms import Arm, ablation_of, classes_without_arms, plan_arms
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.unitmap import UnitMap
from tests.cli.unit_map import unit_map
from tests.interventions.test_ablate import statistics

CLASSES = ["SCU", "UCU", "CU", "RU"]


@pytest.fixture
def units() -> UnitMap:
    return unit_map()


def ablation(*of: str, draws: int = 2) -> AblationConfig:
    fills = ["pooled", "zero"]
    controls = ControlsConfig(of=list(of), draws=draws)
    return AblationConfig(classes=CLASSES, fills=fills, controls=controls)


def planned(units: UnitMap, config: AblationConfig, seed: int = 0) -> list[Arm]:
    return plan_arms(units, config, seed, with_unaligned=True)


def test_names_are_unique_and_say_what_the_arm_is(units: UnitMap) -> None:
    arms = planned(units, ablation("SCU", "RU"))
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names) == 2 + 4 * 2 + 2 * 2 * 2
    assert names[:4] == ["unaligned", "aligned", "SCU/pooled", "SCU/zero"]
    assert names[-1] == "RU/pooled/matched/1"
    assert arms[0].model == "unaligned"
    assert {arm.model for arm in arms[1:]} == {"aligned"}


def test_other_fills_than_the_primary_one_go_to_the_classes_asked(units: UnitMap) -> None:
    config = replace(ablation(), fills_of=["SCU"])
    names = [arm.name for arm in planned(units, config) if arm.unit_class]
    assert names == ["SCU/pooled", "SCU/zero", "UCU/pooled", "CU/pooled", "RU/pooled"]


def test_a_class_is_ablated_whole_under_every_fill(units: UnitMap) -> None:
    for arm in planned(units, ablation("SCU")):
        if arm.unit_class is not None and arm.control is None:
            assert arm.mask is not None
            assert (arm.mask == units.select(UnitClass[arm.unit_class])).all()


@pytest.mark.parametrize("fill", SETS)
def test_a_fill_is_the_mean_over_the_set_it_is_named_after(units: UnitMap, fill: str) -> None:
    sets = {name: statistics(units.anatomy, seed, 30) for seed, name in enumerate(SETS)}
    found = Identification(units.anatomy, sets["safety"], sets["utility"], {})
    arm = Arm("SCU", "aligned", units.select(UnitClass.SCU), "SCU", fill)
    ablation = ablation_of(arm, found)
    assert ablation is not None
    for kind in KINDS:
        assert torch.equal(ablation.fills[kind], sets[fill].by_kind[kind].mean)
    assert ablation_of(Arm("aligned", "aligned"), found) is None


def test_controls_stand_beside_each_class_asked_for(units: UnitMap) -> None:
    controls = [arm for arm in planned(units, ablation("SCU", "RU", draws=3)) if arm.control]
    seen = {(arm.unit_class, arm.control, arm.draw) for arm in controls}
    kinds = ("random", "matched")
    assert seen == {(c, k, d) for c in ("SCU", "RU") for k in kinds for d in range(3)}
    assert {arm.fill for arm in controls} == {"pooled"}


def test_controls_are_as_large_as_their_class_and_share_no_unit(units: UnitMap) -> None:
    for arm in planned(units, ablation("SCU", "RU")):
        if arm.control is not None:
            target = units.select(UnitClass[str(arm.unit_class)])
            assert arm.mask is not None
            assert arm.mask.sum() == target.sum() > 0
            assert not (arm.mask & target).any()


def test_a_class_of_more_than_half_a_layer_has_controls_that_overlap(units: UnitMap) -> None:
    most = units.reclassified(BudgetsConfig(scu=0.1, ucu=0.1, ru=0.7, unit="units"))
    config = ablation("RU")
    with pytest.raises(
        UnitError, match=r" in RU: no control .*With ablation\.controls\.overlap=true"
    ):
        planned(most, config)
    config.controls.overlap = True
    arms = [arm for arm in planned(most, config) if arm.control]
    assert len(arms) == 4
    target = most.select(UnitClass.RU)
    for arm in arms:
        assert arm.mask is not None
        assert arm.mask.sum() == target.sum()
        assert arm.overlap == pytest.approx((arm.mask & target).sum() / target.sum())
        assert arm.overlap > 0


def test_overlap_is_of_controls_that_may_share_units(units: UnitMap) -> None:
    config = ablation("SCU")
    assert {arm.overlap for arm in planned(units, config)} == {None}
    config.controls.overlap = True
    for arm in planned(units, config):
        assert (arm.overlap is None) == (arm.control is None)


def test_controls_draw_from_no_class_that_is_excluded(units: UnitMap) -> None:
    config = ablation("RU", draws=4)
    scu = units.select(UnitClass.SCU)
    masks = [arm.mask for arm in planned(units, config) if arm.control]
    assert any((mask & scu).any() for mask in masks if mask is not None)
    config.controls.exclude = ["SCU"]
    arms = [arm for arm in planned(units, config) if arm.control]
    assert len(arms) == 8
    for arm in arms:
        assert arm.mask is not None
        assert arm.mask.sum() == units.select(UnitClass.RU).sum()
        assert not (arm.mask & scu).any()
    config.controls.exclude = ["SCU", "UCU", "CU"]
    with pytest.raises(UnitError, match=r"It is drawn from what is no SCU or UCU or CU\.$"):
        planned(units, config)


def test_no_controls_where_none_are_asked_for(units: UnitMap) -> None:
    assert not any(arm.control for arm in planned(units, ablation()))


def test_the_seed_decides_the_draws_and_0_is_one(units: UnitMap) -> None:
    def masks(seed: int) -> list[bytes]:
        arms = planned(units, ablation("SCU"), seed)
        return [arm.mask.tobytes() for arm in arms if arm.control and arm.mask is not None]

    assert masks(0) == masks(0)
    assert masks(0) != masks(1)
    assert len(set(masks(0))) > 1, "draws differ from each other"


def test_an_empty_class_is_left_out_with_its_controls(units: UnitMap) -> None:
    empty = units.reclassified(BudgetsConfig(scu=0.0, ucu=0.2, ru=0.2))
    arms = planned(empty, ablation("SCU", "RU"))
    assert classes_without_arms(arms, ablation("SCU", "RU")) == ["SCU"]
    assert not any(arm.unit_class == "SCU" for arm in arms)
    assert any(arm.unit_class == "RU" and arm.control for arm in arms)


def test_all_classes_empty_leaves_the_dense_models(units: UnitMap) -> None:
    config = replace(ablation("SCU"), classes=["SCU"])
    bare = units.reclassified(BudgetsConfig(scu=0.0, ucu=0.0, ru=0.0))
    assert [arm.name for arm in planned(bare, config)] == ["unaligned", "aligned"]
    assert np.all(bare.classes == UnitClass.CU)


def test_a_model_that_comes_aligned_has_no_unaligned_arm(units: UnitMap) -> None:
    arms = plan_arms(units, ablation(), 0, with_unaligned=False)
    assert [arm.name for arm in arms if arm.unit_class is None] == ["aligned"]
