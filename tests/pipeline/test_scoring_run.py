"""Runs whose units are scored otherwise: other classes, the same statistics, a stage of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssah_exp.cli import main
from ssah_exp.config.schema import ArmConfig, RunConfig, Target
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError, UnitError
from ssah_exp.pipeline.opened import Finished
from ssah_exp.reporting.artefacts import render_artefact
from ssah_exp.units.unitmap import UnitMap
from tests.pipeline.test_reopening import overrides
from tests.pipeline.tiny_run import computed, of_class, run, tiny_config, training_config
from tests.plugins import Install

SNIP: Target = {"_target_": "ssah_exp.units.scoring.Snip"}
COUNT = '''import numpy as np


class Count:
    """Later units are more important to safety; to utility all are alike."""

    def __init__(self, fails=False):
        self.fails = fails

    def importance(self, loaded, examples, units):
        numbers = np.arange(loaded.anatomy.units, dtype=float)
        numbers[0] = np.nan if self.fails else 0.0
        return numbers * len(examples[0].input_ids)
'''


def scored(place: Path, node: Target) -> RunConfig:
    config = tiny_config(place)
    config.units.scoring = node
    return config


@pytest.fixture(scope="module")
def snip(finished: Finished, place: Path) -> Finished:
    return run(scored(place, SNIP))


def test_classes_are_others_and_statistics_the_same(snip: Finished, finished: Finished) -> None:
    assert snip.record.run_id != finished.record.run_id
    assert "scores" in computed(snip)
    assert not {"align", "statistics"} & set(computed(snip))
    mine, paper = (UnitMap.load(item.folder / "unitmap") for item in (snip, finished))
    assert (mine.classes != paper.classes).any()
    assert mine.provenance.statistic == "Snip"
    assert mine.provenance.settings["scoring"] == SNIP
    assert mine.provenance.fingerprint == paper.provenance.fingerprint
    assert snip.record.statistics_agreement.keys() == finished.record.statistics_agreement.keys()


def test_a_second_run_scores_nothing(snip: Finished, place: Path) -> None:
    again = run(scored(place, SNIP))
    assert computed(again) == []
    assert again.record.arms == snip.record.arms


def test_scores_without_weights_come_from_the_same_statistics(
    finished: Finished, place: Path
) -> None:
    config = tiny_config(place)
    config.units.unweighted = True
    plain = run(config)
    assert plain.record.run_id != finished.record.run_id
    assert not {"align", "statistics", "scores"} & set(computed(plain))
    mine, paper = (UnitMap.load(item.folder / "unitmap") for item in (plain, finished))
    assert (mine.classes != paper.classes).any()
    assert mine.provenance.settings == {**paper.provenance.settings, "unweighted": True}
    assert "statistic variance unweighted, " in render_artefact([plain.record], "markdown")
    assert "unweighted" not in render_artefact([finished.record], "markdown")


def test_its_controls_are_matched_by_its_own_scores(snip: Finished) -> None:
    units = UnitMap.load(snip.folder / "unitmap")
    assert "units scored by Snip" in render_artefact([snip.record], "markdown")
    arms = {arm.name: arm for arm in snip.record.arms}
    importance = units.safety + units.utility
    chosen = units.classes == 0
    assert arms["SCU/pooled"].magnitude == pytest.approx(importance[units.classes == 0].mean())
    assert chosen.sum() == arms["SCU/pooled"].units


@pytest.mark.parametrize(
    "command", [["units", "stability"], ["units", "atlas"]], ids=lambda command: command[1]
)
def test_what_scores_by_statistics_says_that_this_run_did_not(
    snip: Finished, place: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    given = [part for item in overrides(place) for part in ("--set", item) if item != "--set"]
    if command[1] == "atlas":
        given += ["--set", "atlas.pool=32"]
    assert main([*command, str(snip.folder), *given]) == 2
    assert "scored its units by units.scoring" in capsys.readouterr().err


def test_training_arms_select_by_it(snip: Finished, place: Path) -> None:
    arms = {"full": ArmConfig(), "scu": ArmConfig("budget", of_class("SCU"))}
    config = training_config(place, arms, "scored")
    config.units.scoring = SNIP
    record = run(config).record
    (arm,) = (arm for arm in record.arms if arm.arm == "scu")
    assert arm.units > 0
    config.training.track.every = 2
    with pytest.raises(ConfigError, match=r"training\.track follows the paper's scores"):
        validate(config)


def test_a_scoring_of_a_users_own(finished: Finished, place: Path, install: Install) -> None:
    name = install(COUNT)
    made = run(scored(place, {"_target_": f"{name}.Count"}))
    units = UnitMap.load(made.folder / "unitmap")
    heads = units.index.kind == 0
    for layer in range(units.anatomy.layers):
        here = heads & (units.index.layer == layer)
        assert (np.diff(units.safety[here]) > 0).all()
    assert f"plugin.{name}" in made.record.inputs
    entries = set((place / "root" / "cache" / "scores").glob("[!.]*"))
    with pytest.raises(UnitError, match=r"units\.scoring gave NaN or infinite numbers"):
        run(scored(place, {"_target_": f"{name}.Count", "fails": True}))
    assert set((place / "root" / "cache" / "scores").glob("[!.]*")) == entries, "nothing is kept"


def test_what_scores_nothing_is_refused_before_anything_is_read(place: Path) -> None:
    config = scored(place, of_class("SCU"))
    config.model.source["path"] = str(place / "nowhere")
    with pytest.raises(ConfigError, match=r"units\.scoring\._target_ is no scoring: OfClass"):
        run(config)


def test_a_score_that_leaves_the_model_changed_changes_no_arm(
    place: Path, install: Install
) -> None:
    damage = "        next(loaded.model.parameters()).detach().zero_()\n        return numbers"
    codes = {"whole": COUNT, "damaged": COUNT.replace("        return numbers", damage)}
    metrics: list[list[Any]] = []
    for root, code in codes.items():
        config = tiny_config(place, root)
        config.units.scoring = {"_target_": f"{install(code, name=f'ssah_{root}')}.Count"}
        config.alignment.enabled = False  # else the unaligned model takes the slot next
        config.ablation.controls.of = []
        metrics.append([(arm.name, arm.metrics) for arm in run(config).record.arms])
    assert metrics[0] == metrics[1]
