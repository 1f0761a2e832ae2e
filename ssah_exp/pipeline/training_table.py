"""Training tables (protocol sections 4 and 5): one model, fine-tuned under policy after policy."""

from __future__ import annotations

from rich.markup import escape

from ssah_exp import ranks
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.metric_names import EPOCHS, TRAIN_LOSS, TRAINED_SHARE, watched_name
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.arm_plans import check_plans
from ssah_exp.pipeline.identification import check_scoring, identify_units
from ssah_exp.pipeline.measuring import ArmMeasured, Measuring
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.outputs import publish
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.training_arms import TrainingArm, check_arms, plan_training_arms
from ssah_exp.pipeline.tuning import Tuned, Tuning
from ssah_exp.records.record import ArmRecord
from ssah_exp.storage import storage_errors
from ssah_exp.units.summary import size_of_set
from ssah_exp.units.unitmap import UnitMap


def run_training_table(config: RunConfig, reporter: Reporter) -> Finished:
    """Identify the start model's units, train every arm from it, measure them all.

    Args:
        config: A validated config.
        reporter: Receives progress.

    Raises:
        SsahError: Something given is wrong; see its subclasses.
    """
    check_scoring(config.units)
    check_arms(config.training)
    run = open_run(config, reporter, training=True)
    base, stages = run.prepare()
    stages.check(base)
    start, alignment = base, None
    if config.training.start == ALIGNED:
        start, alignment = run.align(base, stages)
    identified = identify_units(start, stages)
    units = identified.units
    arms = plan_training_arms(units, config.training, config.seed)
    by_name = {arm.name: arm for arm in arms}
    check_plans(stages, start, arms)
    tuning = Tuning(stages, start, base)
    tuning.check_lengths(arms)
    measured: list[ArmRecord] = []
    with storage_errors(run.folder):
        if ranks.first():
            units.save(run.folder / "unitmap")
        measuring = Measuring.of(run, stages)
        for number, (name, ref) in enumerate(_dense(config, base, start)):
            place = f"[dense {number}]"
            found = measuring.measure(name, ref, None, place, dense=True)
            if ref == start:
                found.measured.metrics[TRAIN_LOSS] = _loss(
                    tuning.start_loss(), tuning.loss_examples
                )
            measured.append(_dense_record(name, units, found))
        for number, arm in enumerate(arms, start=1):
            tuned = tuning.train(arm, by_name)
            missing = publish(arm, tuned, start, run.folder, stages.cache)
            if missing is not None:
                reporter.say(escape(f"no delta of {arm.name}: {missing}"))
            place = f"[{number}/{len(arms)}]"
            found = measuring.measure(arm.name, tuned.ref, None, place)
            found.measured.metrics.update(_training_metrics(tuned, tuning.loss_examples))
            measured.append(_trained_record(arm, tuned, units, found))
    models = {"base": base, "aligned" if config.training.start == ALIGNED else "start": start}
    return run.finish(models, alignment, identified, stages, measured)


def _dense(config: RunConfig, base: ModelRef, start: ModelRef) -> list[tuple[str, ModelRef]]:
    """Names and models from before any arm's training."""
    if base == start:
        return [(config.training.start, start)]
    return [(UNALIGNED, base), (ALIGNED, start)]


def _training_metrics(tuned: Tuned, loss_examples: int) -> dict[str, Estimate]:
    proof, training = tuned.certificate, tuned.training
    share = proof["changeable_weights"] / (proof["changeable_weights"] + proof["frozen_weights"])
    phases = [training, *([training["first"]] if "first" in training else [])]
    epochs, steps = (sum(phase[key] for phase in phases) for key in ("epochs", "steps"))
    return {
        TRAIN_LOSS: _loss(training["train_loss"], loss_examples),
        EPOCHS: Estimate(epochs, None, None, steps, "batches", "counted"),
        TRAINED_SHARE: Estimate(
            share, None, None, proof["changeable_weights"], "weights", "counted"
        ),
        **{
            watched_name(callback, name): Estimate(value, None, None, steps, "batches", "watched")
            for callback, numbers in training.get("watched", {}).items()
            for name, value in numbers.items()
        },
    }


def _loss(value: float, examples: int) -> Estimate:
    return Estimate(value, None, None, examples, "examples", "fixed sample")


def _dense_record(name: str, units: UnitMap, found: ArmMeasured) -> ArmRecord:
    """A model from before any arm's training."""
    return ArmRecord(
        name=name,
        model=name,
        **size_of_set(units, None),
        **found.recorded(),
    )


def _trained_record(
    arm: TrainingArm, tuned: Tuned, units: UnitMap, found: ArmMeasured
) -> ArmRecord:
    """What an arm trained."""
    return ArmRecord(
        name=arm.name,
        model="trained",
        control=arm.control,
        draw=arm.draw,
        **size_of_set(units, arm.mask),
        **found.recorded(),
        arm=arm.label,
        training={**tuned.summary(), "policy": arm.config.policy, "overlap": arm.overlap},
    )
