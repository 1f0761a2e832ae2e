"""From a finished run back to its models and calibration examples, reading only.

A record holds what decides the result and no paths. What it leaves out comes from the shipped
config and from overrides; what it holds is checked: model and data must be the recorded ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssah_exp.cache import Cache, Entry
from ssah_exp.config.build import build
from ssah_exp.config.compose import conf_dir, parse_plain
from ssah_exp.config.identity import NOT_SCIENCE_OF_NODES
from ssah_exp.config.mistakes import explain_hydra_error
from ssah_exp.config.schema import RunConfig
from ssah_exp.data.datasets import RunData, load_data
from ssah_exp.errors import ConfigError, DataError, ModelError, StoreError
from ssah_exp.models.load import load_speech
from ssah_exp.models.sources import LocalFolder, ModelRef, ModelSource
from ssah_exp.pipeline.identification import unit_map_of
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import ModelSlot, Stages
from ssah_exp.records.dotted import at
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import read_run
from ssah_exp.units.identify import SETS, Identification, identify
from ssah_exp.units.unitmap import UnitMap

_NAMING_A_MODEL = ("model.name", "model.end_of_turn", "model.source")


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
        """The model the record names so, or the one in a folder.

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
        return self.model(next(name for name in self.record.models if name != "base"))

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
        return self.cache.find(kind, keys[stage])

    def _located(self, fingerprint: str) -> ModelRef:
        keys = {stage.name: stage.key for stage in self.record.stages}
        if "align" in keys and fingerprint != self.record.models["base"]["fingerprint"]:
            entry = self.cache.find("align", keys["align"])
            return ModelRef("", "", str(entry.folder), entry.digest)
        if "model" in keys:  # converted; the source's fingerprint is the recorded input
            folder = self.cache.find("model", keys["model"]).folder
            return ModelRef("", "", str(folder), self.record.inputs["model"])
        with _what_to_give():
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

    Either ``runs`` may be a link to another disk, or what was given be a link to a run.

    Raises:
        StoreError: A folder that lies less deep has none beside it.
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
        overrides: As of :func:`reopen`; those on data decide nothing here.

    Raises:
        StoreError: No record there, or no cache can lie beside it.
        ConfigError: An override is wrong, or says otherwise than the record.
    """
    record = read_run(folder)
    recorded = _arms_in_order(record)
    composed = _composed([*_group_of_model(recorded, overrides), *overrides])
    _refuse_other(recorded, composed, overrides)
    with _what_to_give():
        config = parse_plain(_filled(recorded, composed))
    return RunModels(record, config, cache_of(folder))


def _arms_in_order(record: RunRecord) -> dict[str, Any]:
    """A record's config; its arms in the order of the run, not in that of the alphabet.

    One may end at the loss of another that comes before it.
    """
    training = record.config.get("training")
    if training is None:
        return record.config
    labels = list(dict.fromkeys(arm.arm for arm in record.arms if arm.arm is not None))
    arms = {label: training["arms"][label] for label in labels if label in training["arms"]}
    return {**record.config, "training": {**training, "arms": {**arms, **training["arms"]}}}


@contextmanager
def _what_to_give() -> Iterator[None]:
    """Beside what is missing, why it is and how it is given to a command that is no run."""
    try:
        yield
    except ConfigError as error:
        if " is missing" not in str(error):
            raise
        raise ConfigError(
            f"{error}\nA record holds no paths: give back what the run was started with, by "
            "--set KEY=VALUE, e.g. --set data.root=DIR."
        ) from error


def reopen(folder: Path, overrides: Sequence[str], reporter: Reporter) -> Reopened:
    """Rebuild a run's config and load its data.

    Args:
        folder: The run's folder, ``<root>/runs/<artefact>/<run id>``.
        overrides: Hydra overrides that say what records leave out: where files lie, e.g.
            ``data=paper_files data.root=DIR``, and the device.
        reporter: Receives progress.

    Raises:
        StoreError: No record there.
        ConfigError: An override is wrong, or a path is missing.
        DataError: The calibration examples are not the recorded ones.
    """
    models = models_of(folder, overrides)
    record, config = models.record, models.config
    config.trainer.progress = config.trainer.progress and reporter.bars
    with _what_to_give():
        data = load_data(config)
    for name in SETS:
        key = f"{name}_calibration"
        if data.fingerprints[key] != record.inputs[key]:
            raise DataError(
                f"data.{key} holds other examples than the run was calibrated on. Give the "
                "overrides that the run was started with."
            )
    return Reopened(record, config, models.cache, data, reporter)


def _refuse_other(
    recorded: Mapping[str, Any], composed: Mapping[str, Any], overrides: Sequence[str]
) -> None:
    """Refuse what would be dropped: of what is recorded, the record decides.

    What names a model must be given where its group asks for it, whatever it is. A group's name
    says where files lie.
    """
    for word in overrides:
        for key in _keys_of(word):
            held, given = at(recorded, key), at(composed, key)
            a_group = isinstance(held, Mapping) and isinstance(given, Mapping)
            names_a_model = any(f"{key}.".startswith(f"{name}.") for name in _NAMING_A_MODEL)
            if held is not None and not a_group and not names_a_model and _differs(held, given):
                raise ConfigError(
                    f"--set {word} would have no effect: the run has {key}={held}. "
                    "For another value, run it anew."
                )


def _keys_of(word: str) -> Iterator[str]:
    """Dotted keys that an override gives a value to: those inside a mapping one by one."""
    override = OverridesParser.create().parse_override(word)
    key = override.key_or_group
    yield from _below(key, None if override.is_delete() else override.value())


def _below(key: str, value: Any) -> Iterator[str]:
    """``key``, or the keys of a mapping that stands there."""
    if not isinstance(value, Mapping) or not value:
        yield key
        return
    for name, item in value.items():
        yield from _below(f"{key}.{name}", item)


def _differs(held: Any, given: Any) -> bool:
    """Whether a value says otherwise than the record; either may leave out what the other has."""
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        return any(_differs(held[key], given[key]) for key in held.keys() & given.keys())
    if isinstance(held, list) and isinstance(given, list):
        pairs = zip(held, given, strict=False)
        return len(held) != len(given) or any(_differs(*pair) for pair in pairs)
    return bool(held != given)


def _group_of_model(recorded: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """The config group that knows the key `model.source.path`, where that alone is given.

    Of a model that was a folder a record lacks nothing else.
    """
    named = any(item.startswith("model=") for item in overrides)
    given = any(item.startswith("model.source.path=") for item in overrides)
    folder = f"{LocalFolder.__module__}.{LocalFolder.__qualname__}"
    was_folder = recorded["model"]["source"]["_target_"] == folder
    return ["model=local"] if given and was_folder and not named else []


def _composed(overrides: Sequence[str]) -> dict[str, Any]:
    try:
        with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            composed = compose("config", overrides=list(overrides))
        content = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_hydra_error(error)) from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _filled(recorded: Any, composed: Any, depth: int = 0) -> Any:
    """What is recorded, with what records leave out taken from ``composed``.

    Records leave out whole groups, keys of groups, every path, and how a judge is reached. What
    lies deeper is complete (a judge that is not recorded was not used) or has its default in the
    schema.
    """
    if isinstance(recorded, list) and isinstance(composed, list):
        padded = [*composed, *[None] * len(recorded)]
        return [_filled(*pair, depth + 1) for pair in zip(recorded, padded, strict=False)]
    if not isinstance(recorded, Mapping):
        return recorded
    other = composed if isinstance(composed, Mapping) else {}
    filled = {key: _filled(value, other.get(key), depth + 1) for key, value in recorded.items()}
    node = NOT_SCIENCE_OF_NODES if "_target_" in recorded else ()
    left_out = tuple(other) if depth < 2 else node
    return {**filled, **{key: other[key] for key in left_out if key in other and key not in filled}}
