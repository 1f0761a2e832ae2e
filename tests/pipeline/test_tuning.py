"""What reaches a training, and what its result is kept under: nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssah_exp.config.schema import ArmConfig, OthersConfig, RunConfig, TrainingConfig
from ssah_exp.data.chat import encode_pairs
from ssah_exp.data.preferences import OwnAnswer
from ssah_exp.data.sources import Example
from ssah_exp.errors import DataError
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline import training_set, tuning
from ssah_exp.pipeline.stages import Stages
from ssah_exp.pipeline.training_arms import TrainingArm
from ssah_exp.pipeline.tuning import Tuning
from ssah_exp.training.loop import Run
from ssah_exp.training.matching import LossMatch
from ssah_exp.training.preference import PreferenceObjective, ReferencedPair
from tests import tiny
from tests.config.composing import config_of, put
from tests.pipeline.tiny_run import of_class, silent

START = ModelRef("start", "0", "place", "s" * 64)
LOADED = tiny.tiny_loaded("llama_gqa")
UNITS = np.arange(read_anatomy(LOADED.model).units)
ARM = ArmConfig()
LORA = {"_target_": "ssah_exp.training.adapters.lora.Lora", "rank": 2, "alpha": 4}


class StoppedError(Exception):
    """Raised where a training would begin."""


@dataclass
class Asked:
    """A cache that keeps what it is asked for, and computes it."""

    material: dict[str, Any] = field(default_factory=dict)
    run: Run | None = None

    def partial(self, stage: str, material: Mapping[str, Any]) -> Path:
        return Path("partial")

    def get_or_compute(
        self, stage: str, material: Mapping[str, Any], compute: Callable[[Path], None], **_: Any
    ) -> None:
        self.material = dict(material)
        compute(Path("never written"))


def asked(
    monkeypatch: pytest.MonkeyPatch,
    arm: ArmConfig = ARM,
    *,
    mask: np.ndarray | None = None,
    start: ModelRef = START,
    reached: float | None = None,
    phases: Mapping[str, TrainingArm] | None = None,
    change: Callable[[RunConfig], object] = lambda config: None,
    speech: Any = LOADED.speech,
    loss_of_start: bool = False,
    **training: Any,
) -> Asked:
    """One arm's training, up to where it begins; ``reached`` is the loss of the arm ``full``.

    Or, instead, the loss of what all arms start from, up to where it is measured.
    """
    found, config = Asked(), config_of("model=local")
    config.training = TrainingConfig(arms={"some": arm}, **training)
    change(config)
    data: Any = SimpleNamespace(
        preferences=(), alignment=(), finetune=tuple(Example(f"w{at}", "w1") for at in range(4))
    )
    slot: Any = SimpleNamespace(
        to_train=lambda ref: LOADED, clear=lambda: None, get=lambda ref: LOADED
    )

    def stop(loaded: Any, given: Any, *_: Any) -> None:
        found.run = given if isinstance(given, Run) else None
        raise StoppedError

    monkeypatch.setattr(tuning, "fine_tune", stop)
    monkeypatch.setattr(tuning, "mean_response_loss", stop)
    stages = Stages(config, data, found, silent(), slot, speech)  # type: ignore[arg-type]
    here = Tuning(stages, start, START)
    if reached is not None:
        done: Any = SimpleNamespace(training={"train_loss": reached})
        here._done["full"] = done
    trained = partial(here.train, TrainingArm("some", "some", arm, mask), phases or {})
    with pytest.raises(StoppedError):
        (here.start_loss if loss_of_start else trained)()
    return found


def setting(name: str, value: Any) -> Callable[[RunConfig], object]:
    """A change of one value of the config, by dotted name."""
    return lambda config: put(config, name, value)


RAW = ["raw_system"]
BUDGET, EVEN = ArmConfig("budget", of_class("RU")), {"mask": UNITS % 2 == 0}
MATCH = {"arm": ArmConfig(match_loss="full"), "reached": 2.5}
# Two trainings that may end elsewhere: what both are told, and what the second is told besides.
APART: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "epochs": ({}, {"epochs": 7}),
    "batch_size": ({}, {"batch_size": 7}),
    "learning_rate": ({}, {"learning_rate": 0.5}),
    "weight_decay": ({}, {"weight_decay": 0.5}),
    "warmup_share": ({}, {"warmup_share": 0.5}),
    "gradient_clip": ({}, {"gradient_clip": 0.5}),
    "accumulate": ({}, {"accumulate": 7}),
    "prompt_styles": ({}, {"prompt_styles": ["raw"]}),
    "loss_examples": (MATCH, {"loss_examples": 2}),
    "system prompt": (
        {"prompt_styles": RAW},
        {"change": setting("evaluation.system_prompt", "w3")},
    ),
    "seed": ({}, {"change": setting("seed", 7)}),
    "precision": ({}, {"change": setting("model.precision", "bfloat16")}),
    "template": ({"prompt_styles": ["raw"]}, {"speech": tiny.other_speech()}),
    "start": ({}, {"start": replace(START, fingerprint="t" * 64)}),
    "policy": ({"arm": BUDGET, **EVEN}, {"arm": replace(BUDGET, policy="freeze")}),
    "units": ({"arm": BUDGET, **EVEN}, {"mask": UNITS % 2 == 1}),
    "others": ({}, {"arm": ArmConfig(others=OthersConfig(norms=False))}),
    "adapter": ({}, {"arm": ArmConfig(adapter=LORA)}),
    "epochs of the arm": ({}, {"arm": ArmConfig(epochs=7)}),
    "rate of the arm": ({}, {"arm": ArmConfig(learning_rate=0.5)}),
    "a loss to match": ({}, MATCH),
    "which loss": (MATCH, {"reached": 1.5}),
    "how often it looks": (MATCH, {"check_every": 7}),
}


@pytest.mark.parametrize("what", APART)
def test_what_decides_a_training_is_in_its_key(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "adapter":
        pytest.importorskip("peft")
    both, more = APART[what]
    one, again = (asked(monkeypatch, **both).material for _ in range(2))
    assert one == again != asked(monkeypatch, **{**both, **more}).material


@pytest.mark.parametrize(
    "more",
    [
        {"control_draws": 7},
        {"match_pool": 7},
        {"check_every": 7},  # nobody looks
        {"change": setting("evaluation.system_prompt", "w3")},  # no style carries it
        {"change": setting("trainer.progress", False)},
        {"change": setting("training.arms", {"other": ARM})},
    ],
)
def test_what_decides_nothing_is_not(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    assert asked(monkeypatch, **more).material == asked(monkeypatch).material


@pytest.mark.parametrize(
    "more",
    [
        {"loss_examples": 2},
        {"prompt_styles": ["raw"]},
        {"start": replace(START, fingerprint="t" * 64)},
        {"change": setting("model.precision", "bfloat16")},
    ],
)
def test_what_decides_the_loss_of_the_start_is_in_its_key(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    one, again = (asked(monkeypatch, loss_of_start=True).material for _ in range(2))
    assert one == again != asked(monkeypatch, loss_of_start=True, **more).material
    assert one == asked(monkeypatch, loss_of_start=True, epochs=7).material


def test_losses_are_measured_over_every_prompt_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four examples take two styles in turn: every other one would be of one style only."""
    styles = ["raw", "chat"]
    run = asked(monkeypatch, prompt_styles=styles, loss_examples=2).run
    assert run is not None
    both = [Example("w0", "w1"), Example("w1", "w1")]
    assert run.sample == encode_pairs(LOADED.speech, both, styles, "", 512, where="here")


def test_every_option_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = ArmConfig(epochs=5, learning_rate=0.5, match_loss="full")
    options = {"accumulate": 2, "gradient_checkpointing": True, "check_every": 3, "epochs": 9}
    run = asked(monkeypatch, arm, reached=2.5, change=setting("seed", 7), **options).run
    assert run is not None
    assert (run.epochs, run.config.learning_rate, run.seed, run.examples) == (5, 0.5, 7, 4)
    assert (run.accumulate, run.gradient_checkpointing) == (2, True)
    assert run.match == LossMatch(2.5, 3)
    assert run.checkpoints == Path("partial")
    assert len(run.sample) == 4
    plain = asked(monkeypatch, epochs=9).run
    assert plain is not None
    assert (plain.epochs, plain.config.learning_rate) == (9, TrainingConfig().learning_rate)
    assert (plain.accumulate, plain.gradient_checkpointing, plain.match) == (1, False, None)


def test_a_first_phase_has_epochs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    phase = TrainingArm("first", "first", BUDGET, UNITS % 2 == 0)
    arm = ArmConfig(epochs=5, first="first", first_epochs=2)
    found = asked(monkeypatch, arm, phases={"first": phase})
    assert found.material["policy"] == "budget"
    assert found.material["recipe"]["epochs"] == 2
    assert found.run is not None
    assert found.run.epochs == 2


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_only_dpo_in_two_phases_has_its_reference_in_its_key(
    monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """Keys of all other trainings are those from before the reference could be another model."""
    halfway: Any = SimpleNamespace(ref=replace(START, fingerprint="h" * 64), summary=dict)
    monkeypatch.setattr(Tuning, "_first", lambda *_: halfway)
    monkeypatch.setattr(tuning.TrainingSet, "referenced", [])
    monkeypatch.setattr(tuning.TrainingSet, "_preferences", lambda *_: [])
    phase = {"first": TrainingArm("first", "first", ARM, None)}
    staged, plain = (
        asked(monkeypatch, arm, phases=phase, objective=objective).material["recipe"]
        for arm in (ArmConfig(first="first"), ARM)
    )
    assert "reference" not in plain
    expected = {"reference": START.fingerprint} if objective == "dpo" else {}
    assert staged == {**plain, **expected}


def test_dpo_has_its_beta_and_the_runs_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssah_exp.data.preferences import EncodedPair

    talk = tiny.conversations(12)
    pairs = [
        ReferencedPair(EncodedPair(good, bad), 0.0, 0.0)
        for good, bad in zip(talk[:6], talk[6:], strict=True)
    ]
    monkeypatch.setattr(tuning.TrainingSet, "referenced", pairs)
    monkeypatch.setattr(tuning.TrainingSet, "_preferences", lambda *_: [])
    orders = []
    for seed in (1, 2):
        options = {"objective": "dpo", "dpo_beta": 0.7, "batch_size": 1}
        run = asked(monkeypatch, change=setting("seed", seed), **options).run
        assert run is not None
        assert run.objective == PreferenceObjective(0.7)
        rows = [batch.pairs.conversations.input_ids[0].tolist() for batch in run.loader_of()]
        orders.append(rows)
    assert len(orders[0]) == 6
    assert orders[0] != orders[1]


def test_pairs_of_own_answers_are_named_by_the_requests_they_are_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No pairs are given there, so an error that blames ``data.preferences`` leads nowhere."""
    longer = [OwnAnswer("w1 w2", "raw")] * 4
    monkeypatch.setattr(training_set, "own_answers", lambda *_: longer)
    with pytest.raises(DataError, match=r"^data\.finetune: DPO without pairs; at max_length=2"):
        asked(monkeypatch, objective="dpo", prompt_styles=["raw"], max_length=2)
