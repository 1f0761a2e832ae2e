"""Which arms a training table has."""

from __future__ import annotations

import numpy as np
import pytest

from ssah_exp.config.schema import ArmConfig, OthersConfig, TrainingConfig
from ssah_exp.errors import ConfigError, UnitError
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.pipeline.arm_plans import plan_arm
from ssah_exp.pipeline.arms import plan_arms
from ssah_exp.pipeline.training_arms import TrainingArm, check_arms, plan_training_arms
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.unitmap import UnitMap
from tests.pipeline.test_arms import ablation
from tests.pipeline.tiny_run import of_class
from tests.tiny import tiny_model
from tests.units.maps import random_map

UNITS = random_map()
KINDS = ["random", "matched"]
ARMS = {
    "full": ArmConfig(),
    "wide": ArmConfig("freeze", of_class("SCU", "CU"), controls=KINDS, overlap=True),
    "scu": ArmConfig("budget", of_class("SCU"), controls=KINDS),
    "ru": ArmConfig("budget", of_class("RU"), controls=["matched"]),
}


def planned(
    arms: dict[str, ArmConfig] | None = None, seed: int = 0, draws: int = 2, units: UnitMap = UNITS
) -> list[TrainingArm]:
    config = TrainingConfig(arms=arms or ARMS, control_draws=draws)
    return plan_training_arms(units, config, seed)


def masks(seed: int, name: str) -> list[bytes]:
    """Of the controls of one arm."""
    arms = [arm for arm in planned(seed=seed) if arm.label == name and arm.control]
    return [arm.mask.tobytes() for arm in arms if arm.mask is not None]


def test_each_arm_is_followed_by_its_controls() -> None:
    assert [arm.name for arm in planned()] == [
        "full",
        "wide",
        *(f"wide/{kind}/{draw}" for kind in KINDS for draw in range(2)),
        "scu",
        *(f"scu/{kind}/{draw}" for kind in KINDS for draw in range(2)),
        "ru",
        "ru/matched/0",
        "ru/matched/1",
    ]


def test_a_control_carries_label_and_policy_of_the_arm_it_stands_beside() -> None:
    for arm in planned():
        assert arm.label == arm.name.split("/")[0]
        assert arm.config is ARMS[arm.label]
        assert arm.name == "/".join(
            [arm.label, *([] if arm.control is None else [arm.control, str(arm.draw)])]
        )


def test_masks_are_what_the_selectors_say() -> None:
    arms = {arm.name: arm for arm in planned()}
    assert arms["full"].mask is None
    assert np.array_equal(arms["scu"].mask, UNITS.select(UnitClass.SCU))
    assert np.array_equal(
        arms["wide"].mask, UNITS.select(UnitClass.SCU) | UNITS.select(UnitClass.CU)
    )


def test_controls_have_as_many_units_per_layer_and_kind() -> None:
    index = UNITS.index
    arms = {arm.name: arm.mask for arm in planned() if arm.mask is not None}
    for name, mask in arms.items():
        target = arms[name.split("/")[0]]
        for layer in range(UNITS.anatomy.layers):
            for kind in (0, 1):
                stratum = (index.layer == layer) & (index.kind == kind)
                assert (mask & stratum).sum() == (target & stratum).sum()


def test_controls_share_units_only_where_that_is_allowed() -> None:
    arms = planned()
    targets = {arm.name: arm.mask for arm in arms}
    for arm in arms:
        if arm.control is None:
            assert arm.overlap is None
            continue
        assert arm.mask is not None
        shared = (arm.mask & targets[arm.label]).sum() / arm.mask.sum()
        assert arm.overlap == pytest.approx(shared)
        assert (shared > 0) == (arm.label == "wide")
    strict = {"wide": ArmConfig("freeze", of_class("SCU", "CU"), controls=["random"])}
    with pytest.raises(UnitError, match=r"With \+\+training\.arms\.wide\.overlap=true"):
        planned(strict)


def test_the_seed_decides_the_draws_and_0_is_one() -> None:
    assert masks(0, "scu") == masks(0, "scu")
    assert masks(0, "scu") != masks(1, "scu")
    assert len(set(masks(0, "scu"))) == 4, "draws and kinds differ"


@pytest.mark.parametrize("pool", [1, 5])
def test_a_control_is_the_same_set_in_a_pruning_table(pool: int) -> None:
    pruning = ablation("SCU")
    pruning.controls.match_pool = pool
    training = TrainingConfig(arms={"scu": ARMS["scu"]}, control_draws=2, match_pool=pool)
    pruned = plan_arms(UNITS, pruning, 3, with_unaligned=False)
    trained = plan_training_arms(UNITS, training, 3)
    of_pruning, of_training = (
        [arm.mask.tobytes() for arm in arms if arm.control and arm.mask is not None]
        for arms in (pruned, trained)
    )
    assert of_pruning == of_training
    assert (of_training == masks(3, "scu")) == (pool == 5), "the default"


def test_other_arms_and_more_draws_leave_the_draws_as_they_were() -> None:
    few = {arm.name: arm.mask_digest for arm in planned()}
    more = {arm.name: arm.mask_digest for arm in planned(draws=3)}
    assert few.items() < more.items()
    alone = {arm.name: arm.mask_digest for arm in planned({"scu": ARMS["scu"]})}
    assert alone.items() < few.items()


def test_the_digest_is_of_the_units_alone() -> None:
    arms = {"a": ArmConfig("budget", of_class("RU")), "b": ArmConfig("freeze", of_class("RU"))}
    first, second = planned(arms)
    assert first.mask_digest == second.mask_digest
    digests = {arm.mask_digest for arm in planned()}
    assert len(digests) == len(planned())
    assert None in digests, "of the arm that names no units"


def test_a_drawn_selector_follows_the_seed_and_is_the_control_of_that_draw() -> None:
    node = {
        "_target_": "ssah_exp.units.selectors.Like",
        "of": of_class("SCU"),
        "control": "random",
        "draw": 1,
    }
    arms = {"some": ArmConfig("budget", node)}
    (first,), (again,), (other,) = (planned(arms, seed) for seed in (0, 0, 1))
    assert first.mask_digest == again.mask_digest != other.mask_digest
    assert first.mask is not None
    assert first.mask.tobytes() == masks(0, "scu")[1]


def test_a_selector_that_matches_nothing_is_named() -> None:
    empty = UNITS.reclassified(type(UNITS.budgets)(scu=0.0, ucu=0.1, ru=0.1))
    with pytest.raises(UnitError, match=r"training\.arms\.scu\.select: .* matches no unit"):
        planned(units=empty)


def test_wrong_selectors_and_adapters_are_named_without_a_model() -> None:
    check_arms(TrainingConfig(arms=ARMS))
    adapter = {"_target_": "ssah_exp.training.adapters.unit_lora.UnitLora", "rnak": 1, "alpha": 1}
    for arm, key in (
        (ArmConfig("budget", {"_target_": "ssah_exp.units.selectors.OfClas"}), "select"),
        (ArmConfig("budget", of_class("RU"), adapter=adapter), "adapter"),
    ):
        with pytest.raises(ConfigError, match=rf"training\.arms\.late\.{key}\."):
            check_arms(TrainingConfig(arms={"full": ArmConfig(), "late": arm}))


@pytest.mark.parametrize("order", [("inner", "outer"), ("outer", "inner")])
def test_a_control_freezes_what_its_first_phase_froze(order: tuple[str, str]) -> None:
    both = {
        "inner": ArmConfig("freeze", of_class("SCU"), controls=KINDS, first="outer", overlap=True),
        "outer": ArmConfig("freeze", of_class("SCU", "CU"), controls=KINDS, overlap=True),
    }
    arms = {arm.name: arm for arm in planned({name: both[name] for name in order})}
    assert [name for name in arms if name in both] == list(order)
    alone = {arm.name: arm for arm in planned({"outer": both["outer"]})}
    for kind in KINDS:
        for draw in range(2):
            inner, outer = (arms[f"{name}/{kind}/{draw}"].mask for name in ("inner", "outer"))
            assert inner is not None
            assert outer is not None
            assert 0 < inner.sum() < outer.sum()
            assert not (inner & ~outer).any()
            assert (
                arms[f"outer/{kind}/{draw}"].mask_digest
                == alone[f"outer/{kind}/{draw}"].mask_digest
            )


def test_a_control_freezes_nothing_that_its_first_phase_trained() -> None:
    arms = {
        "trained": ArmConfig("budget", of_class("RU"), controls=["random"], overlap=True),
        "frozen": ArmConfig("freeze", of_class("SCU"), controls=["random"], first="trained"),
    }
    _, trained, _, frozen = (arm.mask for arm in planned(arms, draws=1))
    assert trained is not None
    assert frozen is not None
    assert not (trained & frozen).any()


def test_a_first_phase_that_leaves_too_little_is_named() -> None:
    everything = of_class("SCU", "UCU", "CU", "RU")
    arms = {
        "all": ArmConfig("budget", everything, controls=["random"], overlap=True),
        "frozen": ArmConfig("freeze", of_class("SCU"), controls=["random"], first="all"),
    }
    with pytest.raises(UnitError, match=r"drawn from what the control's own first phase left"):
        planned(arms, draws=1)


def test_an_arm_may_have_any_name_without_deciding_over_others() -> None:
    """Looked up by name, an arm called None would be the first phase of all that have none."""
    drawn = [
        {arm.name: arm.mask for arm in planned({name: ARMS["wide"], "scu": ARMS["scu"]})}
        for name in ("None", "other")
    ]
    for name in ("scu/random/0", "scu/matched/1"):
        np.testing.assert_array_equal(drawn[0][name], drawn[1][name])


def test_an_arm_whose_plan_fails_is_named() -> None:
    """A table has several, and what is wrong is said before any of them is trained."""
    model = tiny_model("llama_tied")
    mask = np.ones(read_anatomy(model).units, dtype=bool)
    others = OthersConfig(embeddings=True, lm_head=False)
    arm = TrainingArm("odd", "odd", ArmConfig("budget", of_class("SCU"), others=others), mask)
    with pytest.raises(UnitError, match=r"^training\.arms\.odd: .*ties the two"):
        plan_arm(model, arm)
