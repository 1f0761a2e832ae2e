"""The record of a run: everything a table, a figure or a sceptic needs, as plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

from ssah_exp.cache import is_key
from ssah_exp.config.ranges import named
from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.evaluation.probe.curves import Curve
from ssah_exp.folders import leads_out
from ssah_exp.jsontext import json_of
from ssah_exp.records.kinds import check_of
from ssah_exp.records.needed import lacking
from ssah_exp.records.parts import Described, Provenance, Training

SCHEMA = 1
DONE, INCOMPLETE = "done", "incomplete"
# Fields of outcomes that are left out where empty, so that older records stay as they were written.
_ONLY_WHERE_THERE = ("documents", "failed")
_NOT_IN_EARLIER = ("shift", "norm", "completions_sha256")  # of an arm
# Fields of arms that code may leave out and every record has, if only as null.
_WRITTEN = ("unit_class", "fill", "control", "draw", "magnitude")


@dataclass(frozen=True)
class StageRecord:
    """One stage of the pipeline: its cache key, and whether this run computed it.

    Attributes:
        name: E.g. ``train full``.
        key: Key of its cache entry.
        cached: Whether the entry was found.
        seconds: Wall time it took in this run, reading or computing.
        cost: What computing the entry took, by name; a training has ``certificate_seconds`` and, if
            units were followed, ``track_overhead``. Kept apart from what the stage found, so that
            equal results are equal.
    """

    name: str
    key: str
    cached: bool
    seconds: float
    cost: dict[str, float] = field(default_factory=dict)


def file_name(arm: str) -> str:
    """An arm's name in those of its files: ``full-random-0`` for ``full/random/0``."""
    return arm.replace("/", "-")


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One arm: a model, ablated or not, with everything measured on it.

    Attributes:
        name: Unique within the run.
        model: ``unaligned`` or ``aligned``; ``trained`` for what an arm trained.
        unit_class: Ablated class or named set, or the one a control stands beside; None = dense.
        fill: What replaced the activations; None = dense.
        control: ``random``, ``matched``, ``shifted`` or ``normed``; None = not a control.
        draw: Number of the control draw; None = not a control.
        units: How many units are ablated; in training tables, frozen or trained.
        unit_share: Their share of all units.
        parameter_share: Their share of all unit parameters.
        magnitude: Their mean z_S + z_U, which shows how good a match is; None = there are none.
        shift: Mean of how far their means move between the calibration sets (``UnitMap.shift``);
            None = there are none, and in records of earlier versions.
        norm: Mean of how large the weights behind them are (``UnitMap.norm``); None as ``shift``.
        metrics: Name -> estimate.
        completions: Path of the completions, relative to the run's folder; "" = none are kept.
        completions_sha256: sha256 of that file; None if none is kept, and in records of earlier
            versions.
        arm: In training tables, the configured arm, or the one a control stands beside.
        training: How the arm was trained, with its certificate; None = not trained.
        outcomes: What each prompt and text window gave; None in records of earlier versions.
        curves: Name -> estimates at every depth of the model; empty but for the probe.
        overlap: In pruning tables, the share of a control's units that are in the class it stands
            beside; None where it may share none. Training tables have it in ``training``.
        class_shares: Class -> share of its units that are in the set; empty for no set, and in
            records of earlier versions.
    """

    name: str
    model: str
    unit_class: str | None = None
    fill: str | None = None
    control: str | None = None
    draw: int | None = None
    units: int
    unit_share: float
    parameter_share: float
    magnitude: float | None = None
    shift: float | None = None
    norm: float | None = None
    metrics: dict[str, Estimate]
    completions: str
    arm: str | None = None
    training: Annotated[dict[str, Any], Training] | None = None
    outcomes: Outcomes | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    overlap: float | None = None
    class_shares: dict[str, float] = field(default_factory=dict)
    completions_sha256: str | None = None

    @property
    def label(self) -> str:
        """Its name in tables, which its controls share: configured arm, class or model."""
        return self.arm or self.unit_class or self.model

    def measured(self, metric: str) -> Estimate:
        """The estimate of a metric; a gap with n = 0 if the arm has none."""
        gap = Estimate(None, None, None, 0, "", "none: not measured")
        return self.metrics.get(metric, gap)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> ArmRecord:
        """Rebuild an arm from JSON values.

        Raises:
            KeyError: A field is missing that may be null, or the metrics are.
            TypeError: Another field is missing or unknown.
        """
        metrics = {name: _estimate(value) for name, value in plain["metrics"].items()}
        curves = {name: Curve(**value) for name, value in plain.get("curves", {}).items()}
        outcomes = plain.get("outcomes")
        return cls(
            **{
                **plain,
                **{name: plain[name] for name in _WRITTEN},
                "metrics": metrics,
                "curves": curves,
                "outcomes": None if outcomes is None else Outcomes(**outcomes),
            }
        )


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Attributes:
        run_id: Hash of what decides the result.
        artefact: Table or figure it belongs to.
        status: ``done``, or ``incomplete`` if a judge failed on answers, see :meth:`unanswered`.
        seed: The run's seed.
        config: Science part of the resolved config.
        inputs: Content hashes of model and data sets.
        models: Identifier, revision and fingerprint of the base, of the aligned model, and of
            the one that fine-tuning starts from.
        data: Examples in each set.
        template_hash: sha256 over chat template and special tokens.
        judges: What each judge is.
        training: Summary of the alignment, or None.
        calibration: Counted tokens and examples per calibration set.
        classes: Class -> counts and shares.
        statistics_agreement: Spearman correlations of scores and Jaccard overlap of SCU between
            ``variance`` and ``flap``; if ``units.scoring`` is set, between it and the paper's.
        arms: Everything measured.
        stages: What was computed and what came from the cache.
        provenance: Code, packages and machine.
        started: ISO time.
        finished: ISO time.
        schema: Version of the record's format.
        attacks: What each attack is.
        later: Judges that were asked after the run, in the order of ``judges``; never written,
            since what they said lies in files of their own.
    """

    run_id: str
    artefact: str
    status: str
    seed: int
    config: Annotated[dict[str, Any], RunConfig]
    inputs: dict[str, str]
    models: dict[str, dict[str, str]]
    data: dict[str, int]
    template_hash: str
    judges: dict[str, Annotated[dict[str, Any], Described]]
    training: Annotated[dict[str, Any], Training] | None
    calibration: dict[str, dict[str, int]]
    classes: dict[str, dict[str, float]]
    statistics_agreement: dict[str, float | None]
    arms: list[ArmRecord]
    stages: list[StageRecord]
    provenance: Annotated[dict[str, Any], Provenance]
    started: str
    finished: str
    schema: int = field(default=SCHEMA)
    attacks: dict[str, Annotated[dict[str, Any], Described]] = field(default_factory=dict)
    later: tuple[str, ...] = ()

    @property
    def identified(self) -> str:
        """Name in ``models`` of the one whose units were identified: ``aligned`` or ``start``."""
        return next(name for name in self.models if name != "base")

    def measured_as(self, other: RunRecord) -> bool:
        """Whether the other's arms have the same numbers; NaN is the same as NaN.

        What records of earlier versions do not say of an arm makes no difference.
        """
        ours, theirs = (_finite([asdict(arm) for arm in run.arms]) for run in (self, other))
        for one, two in zip(ours, theirs, strict=False):
            for name in _NOT_IN_EARLIER:
                if one[name] is None or two[name] is None:
                    one[name] = two[name] = None
        return bool(ours == theirs)

    def unanswered(self) -> dict[str, dict[str, int]]:
        """Judge -> arm -> number of answers that it failed on, for a reason that may pass."""
        found: dict[str, dict[str, int]] = {}
        for arm in self.arms:
            for judge, count in (arm.outcomes.failed if arm.outcomes else {}).items():
                found.setdefault(judge, {})[arm.name] = count
        return found

    def to_json(self) -> str:
        """Indented JSON. JSON has no infinity: a perplexity that overflowed is ``"inf"``."""
        content = asdict(self)
        del content["later"]
        for arm in content["arms"]:
            for name in _ONLY_WHERE_THERE:
                if arm["outcomes"] is not None and not arm["outcomes"][name]:
                    del arm["outcomes"][name]
            for name in _NOT_IN_EARLIER:
                if arm[name] is None:
                    del arm[name]
        return json.dumps(_finite(content), indent=1, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Undo :meth:`to_json`.

        Raises:
            StoreError: Not a record of this schema, one whose names lead out of its folder, or one
                whose config lacks what :func:`~ssah_exp.records.needed.lacking` names.
        """
        try:
            content = json_of(text)
            if any(f'"{name}"' in text for name in _INFINITE):
                content = _with_infinity(content)  # a walk that most do not need
            if content["schema"] != SCHEMA:
                raise StoreError(f"Record schema {content['schema']}, expected {SCHEMA}.")
            check_of(cls)(content)
            if not content["arms"]:
                raise StoreError("Not a run record: it has no arms.")
            if (problem := next(_unsafe(content), None)) is not None:
                raise StoreError(f"Not a run record: {problem}")
            if (key := next(lacking(content), None)) is not None:
                raise StoreError(f"Not a run record: its config has no '{key}'.")
            content["arms"] = [ArmRecord.from_plain(arm) for arm in content["arms"]]
            content["stages"] = [StageRecord(**stage) for stage in content["stages"]]
            return cls(**content)
        except KeyError as error:
            raise StoreError(f"Not a run record: it has no {error}.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"Not a run record: {error}") from error


def status_of(arms: Iterable[ArmRecord]) -> str:
    """``done``, or ``incomplete`` where a judge failed on any arm's answers."""
    failed = any(arm.outcomes is not None and arm.outcomes.failed for arm in arms)
    return INCOMPLETE if failed else DONE


# Follows :func:`unanswered_text` in messages.
ASK_AGAIN = (
    "What was judged is kept; run the same command again to ask what is missing, with a higher "
    "max_requests if that is spent."
)


def unanswered_text(lacking: Mapping[str, Mapping[str, int]]) -> str:
    """What :meth:`RunRecord.unanswered` returns, as a clause."""
    return "; ".join(
        f"judge '{judge}' failed on {sum(arms.values())} answers, of {', '.join(arms)}"
        for judge, arms in lacking.items()
    )


def _unsafe(content: Mapping[str, Any]) -> Iterator[str]:
    """Complain about names that lead out of folders: files are named after other people's, too."""
    for key in ("run_id", "artefact"):
        yield from named(key, content[key])
    for arm in content["arms"]:
        if leads_out(place := arm["completions"]):  # of the probe empty
            yield f"completions={place} lies outside the run's folder."
    for stage in content["stages"]:
        if not is_key(stage["key"]):
            yield f"key={stage['key']} of stage '{stage['name']}' is no key of a cache entry."


_ESTIMATE = {item.name for item in fields(Estimate)}


def _estimate(content: dict[str, Any]) -> Estimate:
    """``Estimate(**content)`` in a third of the time: thousands of records hold a million."""
    if content.keys() != _ESTIMATE:
        return Estimate(**content)  # says what is wrong
    made = object.__new__(Estimate)
    made.__dict__.update(content)
    return made


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


_INFINITE = ("inf", "-inf", "nan")
# Parts of a record that hold numbers. Elsewhere these words are words: an arm may be called "nan".
_NUMBERS = ("training", "calibration", "classes", "statistics_agreement", "stages")
_NUMBERS_OF_ARM = ("metrics", "curves", "training", "outcomes", "magnitude", "shift", "norm")


def _with_infinity(content: dict[str, Any]) -> dict[str, Any]:
    arms = [_numbers_of(arm, _NUMBERS_OF_ARM) for arm in content["arms"]]
    return {**_numbers_of(content, _NUMBERS), "arms": arms}


def _numbers_of(content: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {key: _infinite(item) if key in names else item for key, item in content.items()}


def _infinite(value: Any) -> Any:
    if isinstance(value, str) and value in _INFINITE:
        return float(value)
    if isinstance(value, dict):
        return {key: _infinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_infinite(item) for item in value]
    return value
