"""Table 1 (protocol section 3): align, identify, ablate classes beside controls, evaluate."""

from __future__ import annotations

from ssah_exp import ranks
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.pipeline.arms import Arm, ablation_of, classes_without_arms, plan_arms, selectors_of
from ssah_exp.pipeline.identification import check_scoring, identify_units
from ssah_exp.pipeline.measuring import ArmMeasured, Measuring
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.records.record import ArmRecord
from ssah_exp.storage import storage_errors
from ssah_exp.units.summary import size_of_set
from ssah_exp.units.unitmap import UnitMap


def run_table1(config: RunConfig, reporter: Reporter) -> Finished:
    """Run every stage that is not cached, then write the record.

    Args:
        config: A validated config.
        reporter: Receives progress.

    Raises:
        SsahError: Something given is wrong; see its subclasses.
    """
    # Wrong selectors and scorings are refused before hours of training.
    selectors_of(config.ablation)
    check_scoring(config.units)
    run = open_run(config, reporter)
    base, stages = run.prepare()
    stages.check(base)
    aligned, training = run.align(base, stages)
    identified = identify_units(aligned, stages)
    units = identified.units
    arms = plan_arms(units, config.ablation, config.seed, with_unaligned=config.alignment.enabled)
    for name in classes_without_arms(arms, config.ablation):
        reporter.say(f"{name} is empty: it has no arm")
    models = {UNALIGNED: base, ALIGNED: aligned}
    with storage_errors(run.folder):
        if ranks.first():
            units.save(run.folder / "unitmap")
        measuring = Measuring.of(run, stages)
        measured: list[ArmRecord] = []
        for number, arm in enumerate(arms, start=1):
            ablation = ablation_of(arm, identified.statistics)
            place = f"[{number}/{len(arms)}]"
            found = measuring.measure(
                arm.name, models[arm.model], ablation, place, dense=ablation is None
            )
            measured.append(_arm_record(arm, units, found))
    named = {"base": base, "aligned": aligned}
    return run.finish(named, training, identified, stages, measured)


def _arm_record(arm: Arm, units: UnitMap, found: ArmMeasured) -> ArmRecord:
    return ArmRecord(
        name=arm.name,
        model=arm.model,
        unit_class=arm.unit_class,
        fill=arm.fill,
        control=arm.control,
        draw=arm.draw,
        **size_of_set(units, arm.mask),
        **found.recorded(),
        overlap=arm.overlap,
    )
