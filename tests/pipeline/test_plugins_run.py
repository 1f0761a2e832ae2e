"""Runs with a user's own classes: what they do is done, said in the record, and cached by code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.config.schema import ArmConfig, AttackConfig, RunConfig, Target
from ssah_exp.errors import ConfigError, DataError
from ssah_exp.pipeline.opened import Finished
from ssah_exp.reporting.artefacts import render_artefact
from tests.pipeline.tiny_run import computed, run, tiny_config, training_config
from tests.plugins import JUDGE, Install

LAB = (
    JUDGE
    + '''

import numpy as np
import torch

from ssah_exp.evaluation.attacks.base import Attack, Attempt
from ssah_exp.training.watching import Watcher


@dataclass(frozen=True)
class Even:
    """Every second unit."""

    def select(self, units, seed):
        return np.arange(units.anatomy.units) % 2 == 0


@dataclass(kw_only=True)
class Polite(Attack):
    word: str = "please"
    SEARCHES = False

    def attempts(self, victim, request, seed):
        return [Attempt(f"{self.word} {request.prompt}")]


class Norms(Watcher):
    """Gradient norms, step by step."""

    def __init__(self, offset: float = 0.0) -> None:
        self.norms, self.offset = [], offset

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        found = [p.grad.norm() for group in optimizer.param_groups for p in group["params"]]
        self.norms.append(float(torch.stack(found).norm()))

    def state_dict(self):
        return {"norms": list(self.norms)}

    def load_state_dict(self, state):
        self.norms = state["norms"]

    def watched(self):
        return {"largest": max(self.norms) + self.offset, "steps": len(self.norms)}
'''
)


def trained(place: Path, name: str, root: str, **callbacks: Target) -> RunConfig:
    even: Target = {"_target_": f"{name}.Even"}
    arms = {"full": ArmConfig(), "even": ArmConfig("budget", even)}
    config = training_config(place, arms, root)
    config.training.callbacks = callbacks
    return config


def test_callbacks_watch_every_arm_and_change_none(
    finished: Finished, place: Path, install: Install
) -> None:
    name = install(LAB)
    plain = run(trained(place, name, "watched"))
    norms: Target = {"_target_": f"{name}.Norms"}
    seen = run(trained(place, name, "watched", norms=norms))
    assert seen.record.run_id != plain.record.run_id
    assert {"train full", "train even"} <= set(computed(seen))
    for one, other in zip(plain.record.arms, seen.record.arms, strict=True):
        more = set(other.metrics) - set(one.metrics)
        assert {key: other.metrics[key] for key in one.metrics} == one.metrics
        if other.arm is None:
            assert not more
            continue
        assert more == {"watched/norms/largest", "watched/norms/steps"}
        assert other.metrics["watched/norms/steps"].value == 3  # of ten examples, four a batch
        assert (other.metrics["watched/norms/largest"].value or 0) > 0
    assert f"plugin.{name}" in seen.record.inputs


def test_the_same_code_is_found_in_the_cache_and_other_code_is_not(
    finished: Finished, place: Path, install: Install
) -> None:
    def again(code: str, **settings: float) -> Finished:
        name = install(code, name="ssah_cached_lab")
        norms: Target = {"_target_": f"{name}.Norms", **settings}
        return run(trained(place, name, "cached_lab", norms=norms))

    first, second = again(LAB), again(LAB)
    assert second.record.run_id == first.record.run_id
    assert computed(second) == []
    edited = again(LAB + "# edited\n")
    assert edited.record.run_id != first.record.run_id
    assert {"train full", "train even"} <= set(computed(edited))
    assert not {"align", "statistics"} & set(computed(edited)), "the plug-in has no part in these"
    offset = again(LAB, offset=1.0)
    (one, other) = (
        {arm.arm: arm.metrics["watched/norms/largest"].value for arm in item.record.arms if arm.arm}
        for item in (first, offset)
    )
    assert other == pytest.approx({arm: (value or 0) + 1 for arm, value in one.items()})


def test_a_selector_a_judge_and_an_attack_of_a_users_own_in_a_pruning_table(
    finished: Finished, place: Path, install: Install
) -> None:
    name = install(LAB)
    config = tiny_config(place)
    config.ablation.sets = {"even": {"_target_": f"{name}.Even"}}
    config.evaluation.judges["short"] = {"_target_": f"{name}.Short", "words": 4}
    method: Target = {"_target_": f"{name}.Polite", "name": "polite", "word": "w3"}
    config.evaluation.attacks = {"polite": AttackConfig(method)}
    record = run(config).record
    arms = {arm.name: arm for arm in record.arms}
    assert arms["even/pooled"].unit_share == pytest.approx(0.5, abs=0.01)
    assert record.judges["short"]["words"] == 4
    assert arms["aligned"].metrics["asr/raw/short"].n == 5
    assert arms["aligned"].metrics["asr/raw+polite/short"].n == 5
    assert record.attacks["polite"]["kind"] == "Polite"
    assert "| even " in render_artefact([record], "markdown")


def test_without_consent_nothing_is_imported_or_run(
    finished: Finished, place: Path, install: Install
) -> None:
    name = install("raise RuntimeError('imported')", trusted=False)
    config = tiny_config(place)
    config.evaluation.judges["bad"] = {"_target_": f"{name}.Short"}
    with pytest.raises(ConfigError, match=r"evaluation\.judges\.bad\._target_=.*SSAH_PLUGINS"):
        run(config)


def test_callbacks_whose_states_a_checkpoint_could_not_tell_apart_are_refused(
    place: Path, install: Install
) -> None:
    name = install(LAB)
    norms: Target = {"_target_": f"{name}.Norms"}
    config = trained(place, name, "refused", one=norms, two={**norms, "offset": 1.0})
    with pytest.raises(ConfigError, match=r"training\.callbacks: one and two have one state_key"):
        run(config)


def test_rows_that_are_no_examples_are_refused(place: Path, install: Install) -> None:
    name = install("class Rows:\n    def load(self, seed):\n        return ['a', 'b']\n")
    config = tiny_config(place)
    config.data.benign_eval = {"_target_": f"{name}.Rows"}
    with pytest.raises(DataError, match=rf"data\.benign_eval: {name}\.Rows gives something else"):
        run(config)


@pytest.mark.parametrize("target", ["Short", "Even"])
def test_a_callback_that_is_none_is_refused_before_anything_is_trained(
    place: Path, install: Install, target: str
) -> None:
    name = install(LAB)
    config = trained(place, name, "refused", bad={"_target_": f"{name}.{target}"})
    with pytest.raises(
        ConfigError, match=rf"training\.callbacks\.bad\._target_ is no callback: {target}"
    ):
        run(config)
    assert not (place / "refused").exists()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{'kind': 'short', 'words': numpy.float32(3)}", r"float32 .*Give words, numbers"),
        ("{'names': {'a'}}", "cannot hold .*set"),
        ("None", "gave a NoneType, not a dict for the record"),
    ],
)
@pytest.mark.parametrize("kind", ["judge", "attack"])
def test_a_description_that_no_record_can_hold_is_refused_at_the_start(
    place: Path, install: Install, kind: str, said: str, message: str
) -> None:
    """Records are written last: after every arm was measured it was a traceback."""
    own = f"    def describe(self):\n        import numpy\n        return {said}\n\n    def "
    code = LAB.replace("    def describe(self):", "    def plain(self):")
    code = code.replace("    def judge(" if kind == "judge" else "    def attempts(", own + "@@")
    name = install(code.replace("@@", "judge(" if kind == "judge" else "attempts("))
    config = tiny_config(place, "undescribed")
    if kind == "judge":
        config.evaluation.judges["mine"] = {"_target_": f"{name}.Short"}
    else:
        method: Target = {"_target_": f"{name}.Polite", "name": "polite"}
        config.evaluation.attacks = {"mine": AttackConfig(method)}
    where = {"judge": "judges.mine: Short", "attack": "attacks.mine.method: Polite"}[kind]
    with pytest.raises(ConfigError, match=rf"^evaluation\.{where}\.describe\(\) .*{message}"):
        run(config)
    assert not (place / "undescribed").exists()
