"""Table 1 (protocol section 3): align, identify, ablate classes beside controls, evaluate."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ssah_exp.cache import Cache, storage_errors
from ssah_exp.config.build import build
from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import RunConfig, UnitsConfig
from ssah_exp.data.datasets import RunData, load_data
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.judges import Judge
from ssah_exp.evaluation.metrics import arm_metrics
from ssah_exp.evaluation.questions import read_completions
from ssah_exp.interventions.ablate import Ablation, fill_values, plan_ablation
from ssah_exp.models.load import load_speech
from ssah_exp.models.sources import ModelRef, ModelSource
from ssah_exp.pipeline.arms import ALIGNED, UNALIGNED, Arm, plan_arms
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import ModelSlot, Stages, read_losses, read_training
from ssah_exp.records.provenance import provenance
from ssah_exp.records.record import ArmRecord, RunRecord, StageRecord
from ssah_exp.records.store import RecordStore
from ssah_exp.units.identify import Identification
from ssah_exp.units.summary import class_summary, rank_agreement
from ssah_exp.units.unitmap import Provenance, UnitMap


@dataclass(frozen=True)
class Finished:
    """A run's record and where its files lie.

    Attributes:
        record: The record on disk.
        folder: The run's folder.
        stages: What this call computed and what it found in the cache.
        fresh: False if nothing was computed and the record was there before.
    """

    record: RunRecord
    folder: Path
    stages: list[StageRecord]
    fresh: bool


def run_table1(config: RunConfig, reporter: Reporter) -> Finished:
    """Run every stage that is not cached, then write the record.

    Args:
        config: A validated config.
        reporter: Receives progress.

    Raises:
        SsahError: Something given is wrong; see its subclasses.
    """
    # Taken at the start: the checkout may move on while a long run still has its old code.
    started, origin = _now(), provenance()
    root = Path(config.paths.root).expanduser()
    store = RecordStore(root)
    judges: dict[str, Judge] = {
        name: build(node, f"evaluation.judges.{name}")
        for name, node in config.evaluation.judges.items()
    }
    data = load_data(config)
    source: ModelSource = build(config.model.source, "model.source")
    inputs = {"model": source.fingerprint(), **data.fingerprints}
    identifier = run_id(config, inputs)
    folder = store.folder(config.artefact, identifier)
    reporter.say(f"run [bold]{identifier}[/bold]  {config.artefact}  seed {config.seed}")

    base, stages = _prepare(config, data, Cache(root / "cache"), source, reporter)
    aligned, training = _align(base, stages)
    identification, entry = stages.statistics(aligned)
    reporter.done("statistics", entry)
    units = _unit_map(config.units, aligned, data, identification)
    arms = plan_arms(units, config.ablation, config.seed, with_unaligned=config.alignment.enabled)
    models = {UNALIGNED: base, ALIGNED: aligned}
    with storage_errors(folder):
        units.save(folder / "unitmap")
        measured = _measure(arms, stages, models, units, identification, judges, folder)
    record = RunRecord(
        run_id=identifier,
        artefact=config.artefact,
        status="done",
        seed=config.seed,
        config=science(config),
        inputs=inputs,
        models={"base": _describe(base), "aligned": _describe(aligned)},
        data={name: len(rows) for name, rows in data.example_sets.items()},
        template_hash=stages.speech.template_hash,
        judges={name: judge.describe() for name, judge in judges.items()},
        training=training,
        calibration=_calibration(identification),
        classes=class_summary(units),
        statistics_agreement=_agreement(units, config.units, aligned, data, identification),
        arms=measured,
        stages=reporter.stages,
        provenance=origin,
        started=started,
        finished=_now(),
    )
    earlier = store.get(config.artefact, identifier)
    if earlier is not None and earlier.arms == measured and all(s.cached for s in reporter.stages):
        # It says who computed the numbers, when and on what; this call only looked them up.
        return Finished(earlier, folder, reporter.stages, fresh=False)
    store.write(record)
    return Finished(record, folder, reporter.stages, fresh=True)


def _prepare(
    config: RunConfig, data: RunData, cache: Cache, source: ModelSource, reporter: Reporter
) -> tuple[ModelRef, Stages]:
    """Make the base model loadable and gather what the stages share."""
    base, entry = source.resolve(cache)
    if entry is not None:
        reporter.done("model", entry)
    speech = load_speech(
        base.location, config.model, None if Path(base.location).is_dir() else base.revision
    )
    return base, Stages(config, data, cache, reporter, ModelSlot(config, reporter), speech)


def _align(base: ModelRef, stages: Stages) -> tuple[ModelRef, dict[str, Any] | None]:
    """The aligned model and how it was trained; the base model itself if it comes aligned."""
    if not stages.config.alignment.enabled:
        return base, None
    aligned, entry = stages.align(base)
    stages.reporter.done("align", entry)
    return aligned, read_training(entry)


def _unit_map(
    units: UnitsConfig, aligned: ModelRef, data: RunData, identification: Identification
) -> UnitMap:
    origin = Provenance(
        model=aligned.identifier,
        revision=aligned.revision,
        fingerprint=aligned.fingerprint,
        statistic=units.statistic,
        calibration={
            name: data.fingerprints[f"{name}_calibration"] for name in ("safety", "utility")
        },
        settings={
            "tokens": units.tokens,
            "max_length": units.max_length,
            "prompt_style": units.prompt_style,
            "square_attention": units.square_attention,
        },
    )
    return identification.unit_map(units, origin)


def _agreement(
    units: UnitMap,
    config: UnitsConfig,
    aligned: ModelRef,
    data: RunData,
    identification: Identification,
) -> dict[str, float]:
    """How far the other statistic, from the same pass, agrees with the one in use."""
    other = "flap" if config.statistic == "variance" else "variance"
    twin = _unit_map(replace(config, statistic=other), aligned, data, identification)
    return rank_agreement(units, twin)


def _calibration(identification: Identification) -> dict[str, dict[str, int]]:
    sets = {"safety": identification.safety, "utility": identification.utility}
    return {name: {"tokens": item.tokens, "examples": item.examples} for name, item in sets.items()}


def _describe(ref: ModelRef) -> dict[str, str]:
    return {
        "identifier": ref.identifier,
        "revision": ref.revision,
        "fingerprint": ref.fingerprint,
    }


def _measure(
    arms: list[Arm],
    stages: Stages,
    models: Mapping[str, ModelRef],
    units: UnitMap,
    identification: Identification,
    judges: Mapping[str, Judge],
    folder: Path,
) -> list[ArmRecord]:
    """Put every question to every arm and judge the answers."""
    questions, prompts = stages.questions()
    (folder / "completions").mkdir(parents=True, exist_ok=True)
    measured: list[ArmRecord] = []
    for number, arm in enumerate(arms, start=1):
        label = f"[{number}/{len(arms)}] {arm.name}"
        ref, ablation = models[arm.model], _ablation(arm, units, identification)
        answers = stages.answers(ref, ablation, questions, prompts, f"{label} answers")
        stages.reporter.done(f"answers {arm.name}", answers)
        losses = stages.losses(ref, ablation, f"{label} perplexity")
        stages.reporter.done(f"losses {arm.name}", losses)
        copy = f"completions/{arm.name.replace('/', '-')}.jsonl"
        shutil.copyfile(answers.folder / "completions.jsonl", folder / copy)
        metrics = arm_metrics(
            read_completions(folder / copy), read_losses(losses), judges, stages.config.evaluation
        )
        measured.append(_arm_record(arm, units, metrics, copy))
    return measured


def _arm_record(
    arm: Arm, units: UnitMap, metrics: dict[str, Estimate], completions: str
) -> ArmRecord:
    parameters, magnitude = units.index.parameters, units.safety + units.utility
    mask = np.zeros(units.anatomy.units, dtype=bool) if arm.mask is None else arm.mask
    return ArmRecord(
        name=arm.name,
        model=arm.model,
        unit_class=arm.unit_class,
        fill=arm.fill,
        control=arm.control,
        draw=arm.draw,
        units=int(mask.sum()),
        unit_share=float(mask.mean()),
        parameter_share=float(parameters[mask].sum() / parameters.sum()),
        magnitude=float(magnitude[mask].mean()) if mask.any() else None,
        metrics=metrics,
        completions=completions,
    )


def _ablation(arm: Arm, units: UnitMap, identification: Identification) -> Ablation | None:
    if arm.mask is None or arm.fill is None:
        return None
    fills = fill_values(arm.fill, identification.safety, identification.utility)
    return plan_ablation(arm.mask, units.anatomy, fills)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
