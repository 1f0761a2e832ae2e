"""Range checks of everything that trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from ssah_exp.config.facts import ATTACHED, class_of, reads_given_pairs
from ssah_exp.config.ranges import at_least, choice, choices, named, within
from ssah_exp.config.schema import ArmConfig, RunConfig, TrackConfig, TrainingConfig, TuningConfig
from ssah_exp.config.vocabulary import (
    ALIGNED,
    CONTROLS,
    MODELS,
    OBJECTIVES,
    POLICIES,
    STYLES,
    UNALIGNED,
)


def tuning_problems(key: str, tuning: TuningConfig) -> Iterable[str]:
    """What is wrong with the hyper-parameters of a fine-tuning.

    Args:
        key: Where they are in the config.
        tuning: The values.
    """
    yield from choices(f"{key}.prompt_styles", tuning.prompt_styles, STYLES)
    yield from at_least(f"{key}.epochs", tuning.epochs, 1)
    yield from at_least(f"{key}.batch_size", tuning.batch_size, 1)
    yield from at_least(f"{key}.max_length", tuning.max_length, 8)
    yield from within(f"{key}.learning_rate", tuning.learning_rate, 0, 1, open_low=True)
    yield from within(f"{key}.warmup_share", tuning.warmup_share, 0, 1)
    if tuning.warmup_share == 1:
        yield f"{key}.warmup_share=1: the rate would rise to the end and never fall; give a share."
    yield from at_least(f"{key}.weight_decay", tuning.weight_decay, 0)
    yield from within(f"{key}.gradient_clip", tuning.gradient_clip, 0, 1e6)


def training_problems(config: RunConfig) -> Iterable[str]:
    """What is wrong with the arms of a training table."""
    training = config.training
    yield from tuning_problems("training", training)
    yield from choice("training.start", training.start, (ALIGNED, UNALIGNED))
    yield from choice("training.data", training.data, ("finetune", "alignment"))
    yield from choice("training.objective", training.objective, OBJECTIVES)
    yield from choice("training.optimizer", training.optimizer, ("adamw", "adamw_8bit"))
    yield from at_least("training.dpo_beta", training.dpo_beta, 1e-6)
    yield from at_least("training.accumulate", training.accumulate, 1)
    yield from at_least("training.loss_examples", training.loss_examples, 1)
    yield from at_least("training.check_every", training.check_every, 1)
    yield from at_least("training.control_draws", training.control_draws, 1)
    yield from at_least("training.match_pool", training.match_pool, 1)
    yield from _track(training)
    given = reads_given_pairs(config)
    if training.data == "finetune" and not config.data.finetune and not given:
        yield "data.finetune is empty and training.data=finetune needs it; give finetune=NAME."
    if config.data.preferences is not None and not given:
        yield "data.preferences is given, but training.objective=sft would not read it."
    if (
        training.objective == "dpo"
        and training.start == ALIGNED
        and not config.alignment.enabled
        and not given
    ):
        yield (
            "training.objective=dpo rejects the unaligned model's answers, and with alignment=none "
            "the only model is the aligned one; give data.preferences."
        )
    if training.track.every is not None and config.units.scoring is not None:
        yield "training.track follows the paper's scores, and units.scoring gives others."
    for name in training.callbacks:
        yield from named(f"training.callbacks.{name}", name)
    if not training.arms:
        yield "training.arms is empty: there is nothing to train."
    earlier: list[str] = []
    for name, arm in training.arms.items():
        yield from _arm(name, arm, training, earlier)
        earlier.append(name)


def _track(training: TrainingConfig) -> Iterable[str]:
    track = training.track
    if track.every is None:
        if track.examples != TrackConfig().examples:
            yield (
                f"training.track.examples={track.examples} is given, but nothing is tracked unless "
                "training.track.every says after how many steps."
            )
        return
    yield from at_least("training.track.every", track.every, 1)
    yield from at_least("training.track.examples", track.examples, 2)
    adapted = [name for name, arm in training.arms.items() if arm.adapter is not None]
    if adapted:
        yield (
            f"training.track scores a model's own weights, and {', '.join(adapted)} trains an "
            "adapter beside them; leave training.track.every null."
        )


def _arm(name: str, arm: ArmConfig, training: TrainingConfig, earlier: list[str]) -> Iterable[str]:
    key = f"training.arms.{name}"
    yield from _arm_name(name, training)
    yield from choice(f"{key}.policy", arm.policy, POLICIES)
    yield from choices(f"{key}.controls", arm.controls, CONTROLS, empty=True)
    yield from at_least(f"{key}.epochs", arm.epochs, 1)
    yield from within(f"{key}.learning_rate", arm.learning_rate, 0, 1, open_low=True)
    yield from at_least(f"{key}.first_epochs", arm.first_epochs, 1)
    yield from _arm_units(key, arm)
    if arm.adapter is not None and any(value is not None for value in asdict(arm.others).values()):
        yield f"{key}.others is given, but an adapter trains none of them."
    if training.gradient_checkpointing and class_of(arm.adapter) == "Prefix":
        yield (
            f"{key}.adapter: a prefix lies in the cache, which training.gradient_checkpointing "
            "drops; switch that off, or train this arm in a run of its own."
        )
    if arm.match_loss is not None:
        yield from choice(f"{key}.match_loss", arm.match_loss, earlier)
        if training.objective == "dpo":
            yield f"{key}.match_loss compares losses of SFT; training.objective=dpo has another."
    yield from _first(name, arm, training)


def _arm_name(name: str, training: TrainingConfig) -> Iterable[str]:
    key = f"training.arms.{name}"
    yield from named(key, name)
    of, _, draw = name.rpartition("-")
    if draw.isdigit() and of in {f"{arm}-{kind}" for arm in training.arms for kind in CONTROLS}:
        yield f"{key}: the files of a control are called so; rename it."
    if name in MODELS:
        yield f"{key}: {name} is what the table calls a model that no arm has trained; rename it."


def _arm_units(key: str, arm: ArmConfig) -> Iterable[str]:
    """What does not go together in an arm's policy, units and controls."""
    if arm.select is None and arm.policy in ("freeze", "budget"):
        yield f"{key}.policy={arm.policy} needs units; give {key}.select."
    if arm.select is not None and arm.policy == "none":
        yield f"{key}.select is given, but policy none trains everything and would ignore it."
    if arm.select is not None and (kind := class_of(arm.adapter)) in ATTACHED:
        yield (
            f"{key}.select is given, but {kind} changes no weight of any unit and would ignore it."
        )
    if arm.controls and arm.select is None:
        yield f"{key}.controls needs a set of units to stand beside; there is no {key}.select."
    if arm.overlap and not arm.controls:
        yield f"{key}.overlap is about controls, and there are no {key}.controls."


def _first(name: str, arm: ArmConfig, training: TrainingConfig) -> Iterable[str]:
    key = f"training.arms.{name}"
    if arm.first is None:
        if arm.first_epochs != 1:
            yield f"{key}.first_epochs={arm.first_epochs} is given, but there is no {key}.first."
        return
    others = [other for other in training.arms if other != name]
    yield from choice(f"{key}.first", arm.first, others)
    if arm.first in others:
        if training.arms[arm.first].first is not None:
            yield f"{key}.first={arm.first} has a first phase itself, which would be left out."
        if {class_of(arm.adapter), class_of(training.arms[arm.first].adapter)} <= {*ATTACHED}:
            yield (
                f"{key}.first={arm.first} leaves its adapter beside the weights, and a model "
                f"carries one at a time; {name} brings another."
            )
        if arm.policy == "budget" and arm.controls:
            yield (
                f"{key}.controls: an arm with policy=budget and a first phase takes no controls, "
                f"since a control of {name} would freeze what the control of {arm.first} trained. "
                f"Leave out {key}.controls or {key}.first."
            )
        missing = [kind for kind in arm.controls if kind not in training.arms[arm.first].controls]
        if missing:
            yield (
                f"{key}.controls: {', '.join(missing)} would start as {arm.first}'s control of "
                f"that kind; training.arms.{arm.first}.controls lacks it."
            )
