"""From a finished run back to its models and calibration examples, reading only.

:mod:`ssah_exp.pipeline.recorded_config` rebuilds its whole config; model and data must be the
recorded ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ssah_exp.cache import Cache, Entry
from ssah_exp.config.build import build
from ssah_exp.config.schema import RunConfig
from ssah_exp.data.datasets import RunData, load_data
from ssah_exp.errors import ConfigError, DataError, ModelError, StoreError
from ssah_exp.models.load_tokenizer import load_speech
from ssah_exp.models.sources import LocalFolder, ModelRef, ModelSource
from ssah_exp.pipeline.identification import unit_map_of
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.recorded_config import config_of, what_to_give
from ssah_exp.pipeline.stages import ModelSlot, Stages
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_run
from ssah_exp.units.identify import SETS, Identification, identify
from ssah_exp.units.unitmap import UnitMap


@dataclass(frozen=True)
class RunModels:
    """A finished run with what leads to its models.

    Attributes:
        record: As on disk.
        config: Rebuilt; its science part is the record's.
        cache: Where its entries lie.
    """

    record: RunRecord
    config: RunConfig
    cache: Cache

    def model(self, name: str) -> ModelRef:
        """The model of that name in the record, or the one in a folder.

        Args:
            name: ``base``, ``aligned`` or ``start`` as in the record, or a model folder.

        Raises:
            ModelError: The weights are not the recorded ones, or there is no such model.
            StoreError: Its cache entry is gone or damaged.
        """
        if name not in self.record.models:
            if Path(name).expanduser().is_dir():
                return LocalFolder(name).resolve(self.cache)[0]
            known = ", ".join(self.record.models)
            raise ModelError(f"'{name}' is neither a folder nor a model of this run: {known}.")
        described = self.record.models[name]
        found = self._located(described["fingerprint"])
        if found.fingerprint != described["fingerprint"]:
            raise ModelError(
                f"{found.location} holds other weights than the run's model '{name}' "
                f"({found.fingerprint[:12]}, recorded {described['fingerprint'][:12]})."
            )
        return replace(found, identifier=described["identifier"], revision=described["revision"])

    def identified_model(self) -> ModelRef:
        """The model whose units the run identified: ``aligned`` or ``start``."""
        return self.model(self.record.identified)

    def entry(self, stage: str, kind: str) -> Entry:
        """The cache entry of a stage of the record.

        Args:
            stage: As in the record: ``statistics``, ``train full``.
            kind: The folder such entries lie in.

        Raises:
            StoreError: The record names no such stage, or the entry is gone or damaged.
        """
        keys = {item.name: item.key for item in self.record.stages}
        if stage not in keys:
            raise StoreError(f"Run {self.record.run_id} has no stage '{stage}'.")
        try:
            return self.cache.find(kind, keys[stage])
        except StoreError as error:
            run = f"{self.record.artefact}/{self.record.run_id}"
            raise StoreError(f"What run {run} kept of '{stage}' is not at hand: {error}") from error

    def _located(self, fingerprint: str) -> ModelRef:
        keys = {stage.name: stage.key for stage in self.record.stages}
        if "align" in keys and fingerprint != self.record.models["base"]["fingerprint"]:
            entry = self.entry("align", "align")
            return ModelRef("", "", str(entry.folder), entry.digest)
        if "model" in keys:  # converted; the source's fingerprint is the recorded input
            folder = self.entry("model", "model").folder
            return ModelRef("", "", str(folder), self.record.inputs["model"])
        with what_to_give():
            source = build(self.config.model.source, "model.source", ModelSource)
        return source.resolve(self.cache)[0]


@dataclass(frozen=True)
class Reopened(RunModels):
    """A finished run with its calibration examples loaded.

    Attributes:
        data: Its data sets; the calibration sets are the recorded ones.
        reporter: Receives progress.
    """

    data: RunData
    reporter: Reporter

    def identify(self, ref: ModelRef, *, keep_examples: bool = False) -> Identification:
        """Run the calibration examples through a model; nothing is written.

        Args:
            ref: The model.
            keep_examples: See :func:`ssah_exp.units.identify.identify`.

        Raises:
            ConfigError: See :meth:`check_statistics`.
            ModelError: See :meth:`stages`.
            UnitError: NaN or infinite activations.
        """
        self.check_statistics()
        stages = self.stages(ref)
        calibration = stages.calibration()
        sizes = " + ".join(str(len(items)) for items in calibration.values())
        loaded = stages.slot.get(ref)
        self.reporter.begin(f"collecting statistics over {sizes} sequences")
        units, trainer = self.config.units, self.config.trainer
        return identify(loaded, calibration, units, trainer, keep_examples=keep_examples)

    def check_statistics(self) -> None:
        """Refuse to compare by statistics what was scored by something else.

        Raises:
            ConfigError: The run has a ``units.scoring`` of its own.
        """
        if self.config.units.scoring is not None:
            raise ConfigError(
                f"Run {self.record.run_id} scored its units by units.scoring; this command scores "
                "them anew from activation statistics, as the paper does. Compare stored maps with "
                "'ssah-exp units transfer' or 'units overlap'."
            )

    def unit_map(self, ref: ModelRef, statistics: Identification) -> UnitMap:
        """Score and classify with the run's settings."""
        return unit_map_of(self.config, ref, self.data, statistics)

    def stages(self, ref: ModelRef) -> Stages:
        """The cached stages of the run, for one of its models.

        Raises:
            ModelError: The model has another chat template.
        """
        speech = load_speech(ref.location, self.config.model, ref.commit)
        if speech.template_hash != self.record.template_hash:
            raise ModelError(f"{ref.location} has another chat template than the run's model.")
        slot = ModelSlot(self.config, self.reporter)
        return Stages(self.config, self.data, self.cache, self.reporter, slot, speech)


def cache_of(folder: Path) -> Cache:
    """The cache beside ``runs/<artefact>/<run id>``.

    ``runs`` may be a link to another disk, or ``folder`` itself a link to a run.

    Raises:
        StoreError: ``folder`` does not lie deep enough to have a cache beside it.
    """
    deep = [path for path in (folder.absolute(), folder.resolve()) if len(path.parents) > 2]
    if not deep:
        raise StoreError(
            f"{folder} is no folder <root>/runs/ARTEFACT/RUN: its cache is not beside it."
        )
    beside = [path.parents[2] / "cache" for path in deep]
    return Cache(next((cache for cache in beside if cache.is_dir()), beside[0]))


def models_of(folder: Path, overrides: Sequence[str]) -> RunModels:
    """Rebuild a run's config; no data is read.

    Args:
        folder: The run's folder, ``<root>/runs/<artefact>/<run id>``.
        overrides: As for :func:`reopen`; those about data have no effect here.

    Raises:
        StoreError: No record there, or no cache can lie beside it.
        ConfigError: An override is wrong or contradicts the record, or a value is missing.
    """
    record = read_run(folder)
    return RunModels(record, config_of(record, overrides), cache_of(folder))


def reopen(folder: Path, overrides: Sequence[str], reporter: Reporter) -> Reopened:
    """Rebuild a run's config and load its data.

    Args:
        folder: The run's folder, ``<root>/runs/<artefact>/<run id>``.
        overrides: Hydra overrides that say what records leave out: where files lie, e.g.
            ``data=paper_files data.root=DIR``, and the device.
        reporter: Receives progress.

    Raises:
        StoreError: No record there, or no cache can lie beside it.
        ConfigError: An override is wrong or contradicts the record, or a path is missing.
        DataError: The calibration examples are not the recorded ones.
    """
    models = models_of(folder, overrides)
    record, config = models.record, models.config
    config.trainer.progress = config.trainer.progress and reporter.bars
    with what_to_give():
        data = load_data(config)
    for name in SETS:
        key = f"{name}_calibration"
        if data.fingerprints[key] != record.inputs[key]:
            raise DataError(
                f"data.{key} holds other examples than the run was calibrated on. Give the "
                "overrides that the run was started with."
            )
    return Reopened(record, config, models.cache, data, reporter)
