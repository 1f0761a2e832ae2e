"""The fine-tuning stage: each arm's training is a cache entry, and is resumed after a kill."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from ssah_exp.cache import COST
from ssah_exp.config.identity import is_nothing
from ssah_exp.config.plugins import plugin_code
from ssah_exp.config.schema import ArmConfig, TrainingConfig
from ssah_exp.data.loaders import training_loader
from ssah_exp.errors import ConfigError
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sidecar import TRAINING
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.arm_plans import phase_of, plan_arm
from ssah_exp.pipeline.stages import Stages, read_training, save_model, system_if_used
from ssah_exp.pipeline.training_arms import TrainingArm, callbacks_of
from ssah_exp.pipeline.training_set import TrainingSet, digest_of_encoded
from ssah_exp.storage import write_atomically
from ssah_exp.training.certificate import Certificate, read_summary, save_certificate
from ssah_exp.training.loop import Run, TrainingSummary, check_lengths, fine_tune
from ssah_exp.training.matching import LossMatch, mean_response_loss
from ssah_exp.training.objectives import Objective, SupervisedObjective
from ssah_exp.training.preference import PreferenceObjective, ReferencedPair, preference_loader
from ssah_exp.training.tracking import Tracking

# Raised when a change of code changes what a stage computes from the same inputs.
TUNE_VERSION, START_LOSS_VERSION = 4, 1


@dataclass(frozen=True)
class Tuned:
    """A trained arm.

    Attributes:
        ref: Its model.
        start: The model it was trained from.
        training: Summary of the training; ``first`` is that of an earlier phase, if there was one.
        certificate: Summary of the proof that only what may change did.
    """

    ref: ModelRef
    start: ModelRef
    training: dict[str, Any]
    certificate: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Both summaries in one, for a record."""
        return {**self.training, "certificate": self.certificate}


@dataclass(frozen=True)
class _Phase:
    """One training: an arm's, or its first phase.

    Attributes:
        arm: What to train.
        start: The model that this phase starts from.
        epochs: Passes over the data.
        target: Training loss at which to stop, nats per token; None = none.
        label: What people are told is trained.
    """

    arm: TrainingArm
    start: ModelRef
    epochs: int
    target: float | None
    label: str


class Tuning:
    """Trains arms from one model on one data set.

    Args:
        stages: What all stages share.
        start: The model every arm starts from.
        base: The unaligned model, whose answers DPO rejects.
    """

    def __init__(self, stages: Stages, start: ModelRef, base: ModelRef) -> None:
        self._stages = stages
        self._start = start
        self._config: TrainingConfig = stages.config.training
        self._set = TrainingSet(stages, start, base)
        self._track = self._tracking()
        self._done: dict[str, Tuned] = {}

    def check_lengths(self, arms: Sequence[TrainingArm]) -> None:
        """Hold every arm's steps and schedule against the data, before hours of work.

        Raises:
            ConfigError: A step needs more batches than an arm has, or its warm-up takes all steps.
            DataError: DPO has no pairs to learn from.
        """
        per_epoch = math.ceil(self._set.count / self._config.batch_size)
        for arm in arms:
            recipe, given = self._recipe(arm), arm.config
            phases = [] if given.first is None else [given.first_epochs]
            for epochs in [*phases, given.epochs or self._config.epochs]:
                try:
                    check_lengths(recipe, epochs * per_epoch, recipe.accumulate)
                except ConfigError as error:
                    raise ConfigError(f"training.arms.{arm.label}: {error}") from error

    def train(self, arm: TrainingArm, phases: Mapping[str, TrainingArm]) -> Tuned:
        """Train one arm, or find the result.

        Args:
            arm: What to train. The arm that its ``match_loss`` names has been trained before.
            phases: Arms by name, for ``first``. A control's first phase is a control, too, of the
                same kind and draw: one that began with the named arm itself would be no null.
        """
        start, first = self._start, phase_of(arm)
        epochs = arm.config.epochs or self._config.epochs
        target = self._target(arm.config)
        before: dict[str, Any] = {}
        if first is not None:
            phase = phases[first]
            earlier = self._first(phase, arm.config.first_epochs)
            start, before = earlier.ref, {"first": {"arm": phase.name, **earlier.summary()}}
        tuned = self._tune(_Phase(arm, start, epochs, target, arm.name))
        tuned = replace(tuned, training={**tuned.training, **before})
        self._done[arm.name] = tuned
        return tuned

    @property
    def loss_examples(self) -> int:
        """Number of training examples that training losses are measured over."""
        return len(self._set.sample)

    def start_loss(self) -> float:
        """Training loss of the model that all arms start from, in nats per response token."""
        material = {
            "version": START_LOSS_VERSION,
            "model": self._start.fingerprint,
            "precision": self._stages.config.model.precision,
            "probe": digest_of_encoded(self._set.sample),
        }

        def compute(folder: Path) -> None:
            loaded = self._stages.slot.get(self._start)
            loss = mean_response_loss(loaded, self._set.sample, self._config.batch_size)
            write_atomically(folder / "loss.json", json.dumps(loss))

        entry = self._stages.cache.get_or_compute("start_loss", material, compute, together=True)
        self._stages.reporter.done("loss of the start", entry)
        return float(json.loads((entry.folder / "loss.json").read_text(encoding="utf-8")))

    def _tracking(self) -> Tracking | None:
        """How units are followed, if at all: on the first few of the randomly drawn examples."""
        track, units = self._config.track, self._stages.config.units
        if track.every is None:
            return None
        calibration = self._stages.calibration()
        few = {name: items[: track.examples] for name, items in calibration.items()}
        return Tracking(track.every, few, units)

    def _first(self, arm: TrainingArm, epochs: int) -> Tuned:
        label = f"{arm.name}, {epochs} epochs first"
        return self._tune(_Phase(arm, self._start, epochs, None, label))

    def _target(self, config: ArmConfig) -> float | None:
        if config.match_loss is None:
            return None
        return float(self._done[config.match_loss].training["train_loss"])

    def _tune(self, phase: _Phase) -> Tuned:
        stages, cache, arm, start = self._stages, self._stages.cache, phase.arm, phase.start
        material = self._material(phase)
        checkpoints = cache.partial("tune", material)

        def compute(folder: Path) -> None:
            pairs = self._set.referenced
            loaded = stages.slot.to_train(start)
            plan, adapter = plan_arm(loaded.model, arm)
            run = self._run(phase, loaded, pairs, checkpoints)
            share = plan.changeable(loaded.model) / loaded.model.num_parameters()
            stages.reporter.begin(
                f"training {phase.label}: {share:.1%} of the weights, {run.examples} examples x "
                f"{phase.epochs}"
            )
            try:
                summary, certificate = fine_tune(loaded, run, plan, adapter)
                save_model(loaded, folder)
            finally:
                stages.slot.clear()  # its weights are no longer the start's
            save_certificate(certificate, plan, folder)
            write_atomically(folder / TRAINING, json.dumps(summary.as_dict()))
            write_atomically(folder / COST, json.dumps(_cost(summary, certificate)))

        entry = cache.get_or_compute("tune", material, compute, together=True)
        stages.reporter.done(f"train {phase.label}", entry)
        tuned = ModelRef.trained(f"{start.identifier} + {arm.name}", entry)
        return Tuned(tuned, start, read_training(entry), read_summary(entry.folder))

    def _recipe(self, arm: TrainingArm) -> TrainingConfig:
        rate = arm.config.learning_rate
        return self._config if rate is None else replace(self._config, learning_rate=rate)

    def _run(
        self,
        phase: _Phase,
        loaded: LoadedModel,
        pairs: list[ReferencedPair],
        checkpoints: Path,
    ) -> Run:
        recipe = self._recipe(phase.arm)
        loader_of, count, objective = self._learned(recipe, loaded.speech.pad_id, pairs)
        target = phase.target
        return Run(
            loader_of,
            count,
            recipe,
            self._stages.config.seed,
            self._stages.config.trainer,
            objective,
            epochs=phase.epochs,
            accumulate=recipe.accumulate,
            gradient_checkpointing=recipe.gradient_checkpointing,
            checkpoints=checkpoints,
            sample=self._set.sample,
            match=None if target is None else LossMatch(target, recipe.check_every),
            track=self._track,
            callbacks=callbacks_of(recipe),
        )

    def _learned(
        self, recipe: TrainingConfig, pad: int, pairs: list[ReferencedPair]
    ) -> tuple[Callable[[], DataLoader[Any]], int, Objective]:
        """What makes the loader, how many examples it has, and what is minimised over them."""
        size, seed = recipe.batch_size, self._stages.config.seed
        if recipe.objective == "sft":
            examples = self._set.examples
            loader_of = partial(training_loader, examples, pad, size, seed)
            return loader_of, len(examples), SupervisedObjective()
        objective = PreferenceObjective(recipe.dpo_beta)
        return partial(preference_loader, pairs, pad, size, seed), len(pairs), objective

    def _material(self, phase: _Phase) -> dict[str, Any]:
        """What a training is keyed by."""
        arm, config = phase.arm, self._stages.config
        return {
            "version": TUNE_VERSION,
            "model": phase.start.fingerprint,
            "precision": config.model.precision,
            **self._set.digests(),
            "recipe": {**self._recipe_key(phase), "epochs": phase.epochs},
            "target": phase.target,
            "policy": arm.config.policy,
            "units": arm.mask_digest,
            "others": asdict(arm.config.others),
            "adapter": arm.config.adapter,
            **plugin_code([arm.config.adapter, config.training.callbacks]),
            "system_prompt": system_if_used(config, self._config.prompt_styles),
            "template": self._stages.speech.template_hash,
            "seed": config.seed,
        }

    def _recipe_key(self, phase: _Phase) -> dict[str, Any]:
        """What of the training group decides a phase, and what has changed since keys were made."""
        config = self._stages.config
        given = asdict(self._recipe(phase.arm))
        recipe = {key: val for key, val in given.items() if key not in _NOT_RECIPE}
        if phase.target is None:
            recipe.pop("check_every")
        if config.model.precision != "float32" and self._config.accumulate > 1:
            recipe["gradients"] = "float32"  # once they were summed in the model's precision
        if self._config.accumulate > 1:
            recipe["step"] = "as one batch"  # once its batches counted equally
        if config.training.objective == "dpo" and phase.start != self._start:
            # Once it was the result of the first phase, halfway through the training.
            recipe["reference"] = self._start.fingerprint
        if self._track is not None:
            recipe["track"] = self._track_key(self._track)
        if not recipe["callbacks"]:
            del recipe["callbacks"]  # keeps the keys from before there could be any
        return recipe

    def _track_key(self, track: Tracking) -> dict[str, Any]:
        """How units are followed: it decides what else an entry holds, but no weight."""
        units = {
            key: val
            for key, val in asdict(track.units).items()
            if key in _SCORED and not is_nothing(f"units.{key}", val)
        }
        digests = {name: digest_of_encoded(items) for name, items in track.calibration.items()}
        return {"every": track.every, "units": units, "examples": digests}


# Part of the training group, but not of how one arm is trained.
_NOT_RECIPE = ("start", "data", "arms", "control_draws", "match_pool", "track")
# Of the units group, what decides the classes of given examples.
_SCORED = ("statistic", "tokens", "square_attention", "unweighted", "budgets")


def _cost(summary: TrainingSummary, certificate: Certificate) -> dict[str, float]:
    """Timings: another training that ends at the same bits would measure others."""
    found = {
        "track_overhead": summary.track_overhead,
        "certificate_seconds": certificate.seconds,
    }
    return {name: value for name, value in found.items() if value is not None}
