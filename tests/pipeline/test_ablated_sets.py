"""Sets of a user's own in a pruning table: what selectors name, under fills, beside controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssah_exp.config.schema import RunConfig, Target
from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.errors import ConfigError, UnitError
from ssah_exp.pipeline.arms import plan_arms
from ssah_exp.pipeline.exporting import arm_weights
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.reopening import models_of
from ssah_exp.reporting.arm_groups import groups_of, references_of
from ssah_exp.reporting.model_card import model_card
from ssah_exp.reporting.table1 import render_pruning
from ssah_exp.units.index import KIND_NAMES
from ssah_exp.units.unitmap import UnitMap
from tests.cli.unit_map import unit_map
from tests.pipeline.test_reopening import overrides
from tests.pipeline.tiny_run import of_class, run, tiny_config

HEADS: Target = {"_target_": "ssah_exp.units.selectors.OfKind", "kind": "head"}


def top_heads(share: float = 0.05) -> Target:
    """The heads that prefer safety most."""
    return {
        "_target_": "ssah_exp.units.selectors.Ranked",
        "by": "preference",
        "end": "highest",
        "share": share,
        "of": HEADS,
    }


def with_sets(place: Path, **sets: Target) -> RunConfig:
    config = tiny_config(place, "root")  # what other tests computed there is in its cache
    config.ablation.sets = sets
    config.ablation.controls.of = ["SCU", *sets]
    config.ablation.controls.draws = 1
    return config


@pytest.fixture(scope="module")
def pruned(finished: Finished, place: Path) -> Finished:
    config = with_sets(place, mine=of_class("SCU"), heads=top_heads())
    config.ablation.fills_of = ["heads"]
    config.ablation.controls.kinds = list(CONTROLS)
    return run(config)


def test_sets_stand_behind_the_classes_with_fills_and_controls_of_their_own(
    pruned: Finished,
) -> None:
    assert [arm.name for arm in pruned.record.arms] == [
        "unaligned",
        "aligned",
        "SCU/pooled",
        "RU/pooled",
        "mine/pooled",
        "heads/pooled",
        "heads/zero",
        *(f"{name}/pooled/{kind}/0" for name in ("SCU", "mine", "heads") for kind in CONTROLS),
    ]


def test_a_set_of_the_units_of_a_class_is_that_class_and_so_are_its_controls(
    pruned: Finished,
) -> None:
    arms = {arm.name: arm for arm in pruned.record.arms}
    for name in ("pooled", *(f"pooled/{kind}/0" for kind in CONTROLS)):
        one, other = arms[f"SCU/{name}"], arms[f"mine/{name}"]
        assert one.metrics == other.metrics
        assert one.units == other.units > 0
        assert (one.unit_class, other.unit_class) == ("SCU", "mine")


def test_every_set_says_what_it_holds_of_each_class(pruned: Finished) -> None:
    arms = {arm.name: arm for arm in pruned.record.arms}
    assert arms["mine/pooled"].class_shares == arms["SCU/pooled"].class_shares
    assert arms["SCU/pooled"].class_shares["SCU"] == 1
    assert arms["RU/pooled"].class_shares["RU"] == 1
    assert arms["SCU/pooled/matched/0"].class_shares["SCU"] == 0
    assert sum(arms["SCU/pooled/matched/0"].class_shares.values()) > 0
    assert arms["aligned"].class_shares == {}


@pytest.mark.parametrize("measure", ["shift", "norm"])
def test_every_set_has_the_mean_of_what_its_units_measure(
    pruned: Finished, place: Path, measure: str
) -> None:
    units = UnitMap.load(pruned.folder / "unitmap")
    models = models_of(pruned.folder, [part for part in overrides(place) if part != "--set"])
    recorded = {arm.name: getattr(arm, measure) for arm in pruned.record.arms}
    assert recorded["aligned"] is None
    for arm in plan_arms(units, models.config.ablation, 0, with_unaligned=True):
        if arm.mask is not None:
            assert recorded[arm.name] == pytest.approx(units.known(measure)[arm.mask].mean())


def test_what_is_pruned_is_what_the_selector_names(pruned: Finished, place: Path) -> None:
    models = models_of(pruned.folder, [part for part in overrides(place) if part != "--set"])
    units = UnitMap.load(pruned.folder / "unitmap")
    planned = plan_arms(units, models.config.ablation, 0, with_unaligned=True)
    (mask,) = (arm.mask for arm in planned if arm.name == "heads/pooled")
    assert mask is not None
    heads = np.flatnonzero(units.index.kind == KIND_NAMES.index("head"))
    preference = units.safety - units.utility
    assert set(np.flatnonzero(mask)) == {heads[np.argmax(preference[heads])]}
    exported = arm_weights(models, pruned.folder, "heads/pooled")
    assert exported.ablation is not None
    channels = {kind: int(masks.sum()) for kind, masks in exported.ablation.masks.items()}
    assert channels == {"attention": units.anatomy.head_dim, "mlp": 0}


def test_it_has_its_rows_and_stands_beside_its_own_controls(pruned: Finished) -> None:
    table = render_pruning([pruned.record], "markdown")
    assert "| heads " in table
    assert "random like heads" in table
    groups = groups_of([pruned.record])
    (heads,) = (group for group in groups if group.label == "heads/pooled")
    beside = [item.label for item in references_of(heads, groups, [pruned.record])]
    assert beside == [*(f"{kind} like heads/pooled" for kind in CONTROLS), "aligned"]


def test_a_model_card_says_set_or_class(pruned: Finished) -> None:
    arms = {arm.name: arm for arm in pruned.record.arms}
    assert "Ablated: set heads, 1 heads and neurons" in model_card(
        pruned.record, arms["heads/zero"]
    )
    control = model_card(pruned.record, arms["SCU/pooled/random/0"])
    assert "Ablated: a random control (draw 0) of class SCU" in control


def test_a_model_card_says_what_was_aligned_here(pruned: Finished) -> None:
    arms = {arm.name: arm for arm in pruned.record.arms}
    made = pruned.record.models["aligned"]["identifier"]
    assert made != pruned.record.models["base"]["identifier"]
    said = f"Before anything else it was aligned here: {made}."
    assert said in model_card(pruned.record, arms["SCU/pooled"])
    assert said not in model_card(pruned.record, arms["unaligned"])


def test_a_set_without_units_is_refused_by_name(place: Path) -> None:
    config = with_sets(place, none=top_heads(1e-6))
    with pytest.raises(UnitError, match=r"ablation\.sets\.none: .* matches no unit"):
        run(config)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "os.system", "command": "true"}, r"ablation\.sets\.bad\._target_=os\.system"),
        ({**HEADS, "kind": "haed"}, r"OfKind\.kind=haed.*head"),
        ({**HEADS, "knd": 1}, r"Unknown key 'ablation\.sets\.bad\.knd'"),
        (
            {"_target_": "ssah_exp.evaluation.judges.KeywordJudge", "name": "j", "phrases": ["no"]},
            r"ablation\.sets\.bad\._target_ is no selector: KeywordJudge",
        ),
    ],
)
def test_a_wrong_selector_is_refused_before_anything_is_read(
    place: Path, node: Target, message: str
) -> None:
    config = with_sets(place, bad=node)
    config.model.source["path"] = str(place / "nowhere")
    with pytest.raises((ConfigError, UnitError), match=message):
        run(config)


def test_a_control_of_a_set_may_share_units_where_asked(place: Path) -> None:
    units = unit_map()
    config = with_sets(place, heads=HEADS).ablation
    with pytest.raises(UnitError, match=r"ablation\.controls\.overlap"):
        plan_arms(units, replace(config, classes=["SCU"]), 0, with_unaligned=False)
    config.controls.overlap = True
    arms = plan_arms(units, config, 0, with_unaligned=False)
    (control,) = (arm for arm in arms if arm.name == "heads/pooled/random/0")
    assert control.overlap == 1.0  # of all heads there is no other set
