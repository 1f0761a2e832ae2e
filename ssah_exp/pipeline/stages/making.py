"""Stages that make a model and score its units: alignment, statistics, other scores."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ssah_exp import ranks
from ssah_exp.cache import Entry
from ssah_exp.config.plugins import plugin_code
from ssah_exp.data.chat import Encoded, encode_pairs
from ssah_exp.models.attached.folder import save_adapter
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sidecar import TRAINING
from ssah_exp.models.sizes import Anatomy
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages.shared import Shared, system_if_used
from ssah_exp.storage import write_atomically
from ssah_exp.training.loop import fine_tune, supervised_run
from ssah_exp.units.identify import SETS, Identification, collect, identification_of
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.scoring import Scoring, ScoringSettings, checked_importance

# Raised when a change of code changes what a stage computes from the same inputs.
ALIGN_VERSION, STATISTICS_VERSION, SCORES_VERSION = 1, 1, 1


class MakingStages(Shared):
    """From the base model to an aligned one, and to the statistics and scores of its units."""

    def align(self, base: ModelRef) -> tuple[ModelRef, Entry]:
        """Fine-tune the base model, or find the result."""
        config, alignment = self.config, self.config.alignment
        material = {
            "version": ALIGN_VERSION,
            "model": base.fingerprint,
            "precision": config.model.precision,
            "data": self.data.fingerprints["alignment"],
            "alignment": asdict(alignment),
            "system_prompt": system_if_used(config, alignment.prompt_styles),
            "template": self.speech.template_hash,
            "seed": config.seed,
        }

        partial = self.cache.partial("align", material)

        def compute(folder: Path) -> None:
            examples = encode_pairs(
                self.speech,
                self.data.alignment,
                alignment.prompt_styles,
                config.evaluation.system_prompt,
                alignment.max_length,
                where="data.alignment",
            )
            loaded = self.slot.to_train(base)
            self.reporter.begin(f"aligning on {len(examples)} examples x {alignment.epochs} epochs")
            run = replace(
                supervised_run(loaded, examples, alignment, config.seed, config.trainer),
                checkpoints=partial,
            )
            try:
                summary, _ = fine_tune(loaded, run)
                save_model(loaded, folder)
            finally:
                self.slot.clear()  # its weights are no longer the base model's
            write_atomically(folder / TRAINING, json.dumps(summary.as_dict()))

        entry = self.cache.get_or_compute("align", material, compute, together=True)
        return ModelRef.trained(f"{base.identifier} + SFT", entry), entry

    def statistics(self, aligned: ModelRef) -> tuple[Identification, Entry]:
        """Channel statistics of a model, aligned or not, over both calibration sets."""
        config, units = self.config, self.config.units
        calibration = self.calibration()
        material = {"version": STATISTICS_VERSION, **self._calibrated(aligned)}

        def compute(folder: Path) -> None:
            sizes = " + ".join(str(len(items)) for items in calibration.values())
            loaded = self.slot.get(aligned)
            self.reporter.begin(f"collecting statistics over {sizes} sequences")
            collected = collect(loaded, calibration, units, config.trainer)
            found = identification_of(loaded, collected)
            if found is not None:
                found.save(folder)
                write_atomically(folder / "anatomy.json", json.dumps(loaded.anatomy.as_dict()))

        entry = self.cache.get_or_compute("statistics", material, compute, together=True)
        return read_statistics(entry), entry

    def scores(
        self, model: ModelRef, scoring: Scoring
    ) -> tuple[dict[str, NDArray[np.float64]], Entry]:
        """Scores by another scoring than the paper's: calibration set -> ``(units,)`` float64.

        Raises:
            UnitError: It gives something else than one finite number per unit; nothing is kept.
        """
        units = self.config.units
        material = {
            "version": SCORES_VERSION,
            **self._calibrated(model),
            "scoring": units.scoring,
            **plugin_code(units.scoring),
        }

        def compute(folder: Path) -> None:
            loaded = self.slot.get(model)
            self.reporter.begin(f"scoring units by {type(scoring).__name__}")
            index, told = UnitIndex(loaded.anatomy), ScoringSettings(units.tokens, units.batch_size)
            try:
                found = {
                    name: checked_importance(scoring.importance(loaded, examples, told), index)
                    for name, examples in self.calibration().items()
                }
            finally:
                if plugin_code(units.scoring):  # somebody's own may leave other weights, or hooks
                    self.slot.clear()
            save_file(found, folder / "scores.safetensors")

        entry = self.cache.get_or_compute("scores", material, compute)
        return load_file(entry.folder / "scores.safetensors"), entry

    def _calibrated(self, model: ModelRef) -> dict[str, Any]:
        """What the calibration of a model is keyed by."""
        config, units = self.config, self.config.units
        return {
            "model": model.fingerprint,
            "precision": config.model.precision,
            "safety": self.data.fingerprints["safety_calibration"],
            "utility": self.data.fingerprints["utility_calibration"],
            "tokens": units.tokens,
            "max_length": units.max_length,
            "prompt_style": units.prompt_style,
            "system_prompt": system_if_used(config, [units.prompt_style]),
            "template": self.speech.template_hash,
        }

    def calibration(self) -> dict[str, list[Encoded]]:
        """Both calibration sets, tokenised: ``safety`` and ``utility``."""
        return {name: self._calibration(f"{name}_calibration") for name in SETS}

    def _calibration(self, name: str) -> list[Encoded]:
        units = self.config.units
        return encode_pairs(
            self.speech,
            self.data.example_sets[name],
            [units.prompt_style],
            self.config.evaluation.system_prompt,
            units.max_length,
            where=f"data.{name}",
            at_least=units.min_samples,
        )


def save_model(loaded: LoadedModel, folder: Path) -> None:
    """Write weights, tokenizer and the adapter, if any; all ranks hold the same, so rank 0 writes.

    Args:
        loaded: Whole, in memory.
        folder: A model folder.
    """
    if ranks.first():
        loaded.model.save_pretrained(folder)
        save_adapter(loaded.model, folder)
        loaded.speech.tokenizer.save_pretrained(folder)


def read_statistics(entry: Entry) -> Identification:
    """Statistics of a ``statistics`` entry, with the anatomy of their model."""
    anatomy = Anatomy(**json.loads((entry.folder / "anatomy.json").read_text(encoding="utf-8")))
    return Identification.load(entry.folder, anatomy)


def read_training(entry: Entry) -> dict[str, Any]:
    """Training summary of an entry that holds a trained model: ``align`` or ``tune``."""
    summary: dict[str, Any] = json.loads((entry.folder / TRAINING).read_text(encoding="utf-8"))
    return summary
