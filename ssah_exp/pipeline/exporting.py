"""From an arm of a record back to its weights, and on to a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssah_exp.cache import MARKER
from ssah_exp.config.artefacts import TABLE1, TRAINING_ARTEFACTS
from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.errors import ConfigError, UnitError, did_you_mean
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.interventions.export import export_model
from ssah_exp.models.load import load_model
from ssah_exp.models.sidecar import PROVENANCE
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.weights import check_companions
from ssah_exp.pipeline.arms import ablation_of, plan_arms
from ssah_exp.pipeline.reopening import RunModels, models_of
from ssah_exp.pipeline.stages import read_statistics
from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.model_card import model_card
from ssah_exp.storage import refuse_existing, write_atomically
from ssah_exp.training.certificate import check_certificate, copy_certificate, has_certificate
from ssah_exp.units.unitmap import UnitMap


@dataclass(frozen=True)
class ArmWeights:
    """What an arm is made of.

    Attributes:
        arm: As in the record.
        ref: Its model, without hooks.
        ablation: What is ablated in it; None = nothing.
    """

    arm: ArmRecord
    ref: ModelRef
    ablation: Ablation | None = None


def export_arm(run: Path, name: str, out: Path, overrides: Sequence[str]) -> None:
    """Write an arm as an ordinary folder: weights, tokenizer, card, provenance, certificate.

    Args:
        run: The run's folder.
        name: The arm's, as in the record.
        out: The new folder; it appears whole or not at all.
        overrides: Hydra overrides for what records leave out.

    Raises:
        ConfigError: No such arm, or an override is wrong.
        StoreError: No record, its cache entries are gone or damaged, or ``out`` exists.
        ModelError: The arm cannot be a plain folder, its weights are not the certified ones, or
            its model's folder holds links to files that are not the model's.
        UnitError: The units do not fit the model, or are not those that were measured.
    """
    refuse_existing(out)  # before minutes of loading
    models = models_of(run, overrides)
    weights = arm_weights(models, run, name)
    ref = weights.ref
    loaded = load_model(ref.location, models.config.model, ref.commit)
    source = ref.folder()
    # The tokenizer is written as it was read: a chat template may be any text.
    check_companions(source, [path.name for path in source.glob("*.safetensors")])
    certified = has_certificate(source)
    if certified:
        check_certificate(loaded.model, source)
    provenance = _provenance(models, weights)

    def add(folder: Path) -> None:
        write_atomically(folder / PROVENANCE, json.dumps(provenance, indent=1, sort_keys=True))
        write_atomically(folder / "README.md", model_card(models.record, weights.arm))
        if certified and weights.ablation is None:  # it would not hold for ablated weights
            copy_certificate(source, folder)

    export_model(loaded, weights.ablation, out, add)


def arm_weights(models: RunModels, run: Path, name: str) -> ArmWeights:
    """Find an arm's model in the cache, and plan its ablation anew from the stored units.

    Args:
        models: The run.
        run: Its folder.
        name: The arm's.

    Raises:
        ConfigError: No such arm, or the arms of this artefact are no models of their own.
        StoreError: Cache entries are gone or damaged.
        UnitError: The units do not fit the model, or are not those that were measured.
    """
    record = models.record
    if record.artefact not in (TABLE1, *TRAINING_ARTEFACTS):
        raise ConfigError(f"Runs of {record.artefact} have no arms that are models of their own.")
    arms = {arm.name: arm for arm in record.arms}
    if name not in arms:
        raise ConfigError(f"Run {record.run_id} has no arm '{name}'.{did_you_mean(name, arms)}")
    arm = arms[name]
    if arm.training is not None:
        entry = models.entry(f"train {name}", "tune")
        return ArmWeights(arm, ModelRef.trained(name, entry))
    ref = _dense_model(models, arm)
    if arm.unit_class is None:
        return ArmWeights(arm, ref)
    return ArmWeights(arm, ref, _ablation(models, run, arm, ref))


def _dense_model(models: RunModels, arm: ArmRecord) -> ModelRef:
    names = {UNALIGNED: "base", ALIGNED: "aligned"}
    name = names.get(arm.model, "start")
    return models.model(name if name in models.record.models else "start")


def _ablation(models: RunModels, run: Path, arm: ArmRecord, ref: ModelRef) -> Ablation:
    """As the run planned it, from the same units, seed and statistics."""
    statistics = read_statistics(models.entry("statistics", "statistics"))
    units = UnitMap.load(run / "unitmap")
    units.check_model(statistics.anatomy, ref.fingerprint)
    config = models.config
    planned = plan_arms(
        units, config.ablation, config.seed, with_unaligned=config.alignment.enabled
    )
    found = next((item for item in planned if item.name == arm.name), None)
    if found is not None:
        ablation = ablation_of(found, statistics)
        if ablation is not None and ablation.fingerprint == _measured_ablation(models, arm):
            return ablation
    raise UnitError(
        f"The units in {run / 'unitmap'} do not give what was ablated in '{arm.name}' when it was "
        "measured: they were changed, or another version drew its controls otherwise."
    )


def _measured_ablation(models: RunModels, arm: ArmRecord) -> str | None:
    """Fingerprint of what was ablated while the arm's answers were given."""
    entry = models.entry(f"answers {arm.name}", "answers")
    material = json.loads((entry.folder / MARKER).read_text(encoding="utf-8"))["key"]
    found: str | None = material["ablation"]
    return found


def _provenance(models: RunModels, weights: ArmWeights) -> dict[str, Any]:
    """Where the weights come from, as plain JSON values; no path."""
    record, arm = models.record, asdict(weights.arm)
    del arm["outcomes"], arm["curves"], arm["completions"]
    return {
        "run_id": record.run_id,
        "artefact": record.artefact,
        "seed": record.seed,
        "arm": arm,
        "models": record.models,
        "weights_fingerprint": weights.ref.fingerprint,
        "ablation_fingerprint": weights.ablation and weights.ablation.fingerprint,
        "template_hash": record.template_hash,
        "inputs": record.inputs,
        "config": record.config,
        "provenance": record.provenance,
        "finished": record.finished,
    }
