"""Curves: records that differ in one value of the config, and what was measured at each value."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pandas as pd

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError, SsahWarning, StoreError, did_you_mean
from ssah_exp.records.dotted import dotted
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.across import Across
from ssah_exp.reporting.drawn_asr import PRIMARY, DrawnAsr
from ssah_exp.reporting.drawn_rows import drawn_rows
from ssah_exp.reporting.settings import settings_of, told_apart
from ssah_exp.reporting.swept import Place, in_order, moved_with, written

CHOSEN = "chosen"
_AT_LEAST = 2  # places that make a curve
_NAMED = 4  # keys that an error names


def curves_of(records: Sequence[RunRecord], across: Across) -> list[list[RunRecord]]:
    """Groups of records that make one curve: alike in all but the seed and what it runs over.

    A warning counts the records that are in none.

    Args:
        records: Of one artefact.
        across: What curves run over.

    Raises:
        ConfigError: No record pruned the set, or records at one word differ in what the word
            should decide; or see :meth:`Across.placed`.
        StoreError: No group has arms at two places.
    """
    records = across.placed(_that_pruned(across.unit_class, records))
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    settings = settings_of(records)
    for runs in settings:
        groups[digest_of([across.rest(runs[0].config), across.files(runs[0])])] += runs
    whole = [curve for group in groups.values() for curve in _apart(group)]
    curves = [group for group in whole if _places(group, across) >= _AT_LEAST]
    if not curves:
        what = "shares of parameters" if across.key is None else f"values of {across.key}"
        also = _differing(settings, across)
        raise StoreError(f"No setting among these records has arms of {_AT_LEAST} {what}.{also}")
    if left := sum(map(len, whole)) - sum(map(len, curves)):
        also = _differing(settings, across)
        warnings.warn(
            f"--by {across.key or 'share'}: {left} of {len(records)} records are in no picture, "
            f"since none that is alike in all else has another value.{also}",
            SsahWarning,
            stacklevel=2,
        )
    return [_each_once(curve, across) for curve in curves]


def _differing(settings: Sequence[Sequence[RunRecord]], across: Across) -> str:
    """A sentence on what else keeps settings from being one curve; empty over shares."""
    rests = [dict(dotted(across.rest(runs[0].config))) for runs in settings]
    files = _unlike([across.files(runs[0]) for runs in settings])
    twice = chain(*told_apart(settings))  # of one config on several files, whatever it runs over
    keys = [*_unlike(rests), *(f"the file of {name}" for name in dict.fromkeys([*files, *twice]))]
    if across.key is None or not keys:
        return ""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f" They also differ in {', '.join(keys[:_NAMED])}{more}."


def _unlike(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values are not the same in all."""
    keys = dict.fromkeys(key for item in found for key in item)
    return [key for key in keys if len({digest_of(item.get(key)) for item in found}) > 1]


def _each_once(runs: list[RunRecord], across: Across) -> list[RunRecord]:
    """The newest run of every place and seed, where other arms were asked for beside the drawn.

    Raises:
        ConfigError: Runs at one word differ in what the word should decide.
    """
    if across.key is None or moved_with(across.key) == (across.key,):
        return runs
    newest: dict[tuple[Place, int], RunRecord] = {}
    by_place: dict[Place, list[RunRecord]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.finished):
        place = across.place(run, run.arms[0])
        newest[place, run.seed] = run
        by_place[place].append(run)
    for place, here in by_place.items():
        if unlike := _unlike([across.decided(run) for run in here]):
            raise ConfigError(
                f"--by {across.key}: records of {place} differ in {', '.join(unlike[:_NAMED])}; "
                "give records of one kind."
            )
    kept = {id(run) for run in newest.values()}  # comparing records would read all they hold
    return [run for run in runs if id(run) in kept]


def _that_pruned(unit_class: str, records: Sequence[RunRecord]) -> Sequence[RunRecord]:
    """The records that pruned the set; all of them where none pruned any, as in training tables."""
    pruned = {arm.unit_class for record in records for arm in record.arms} - {None}
    if not pruned:
        return records
    if unit_class not in pruned:
        hint = did_you_mean(unit_class, sorted(map(str, pruned)))
        raise ConfigError(f"--of {unit_class}: none of these records pruned it.{hint}")
    return [item for item in records if any(arm.unit_class == unit_class for arm in item.arms)]


def _apart(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """One curve; if a config was run on several inputs, one curve per set of inputs."""
    if len({digest_of(run.config) for run in runs}) == len(runs):
        return [list(runs)]
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        groups[digest_of(run.inputs)].append(run)
    return list(groups.values())


def _places(records: Sequence[RunRecord], across: Across) -> int:
    return len(
        {
            across.place(record, arm)
            for record in records
            for arm in _arms(record, across)
            if not arm.control
        }
    )


def categories_of(records: Sequence[RunRecord], across: Across) -> list[str]:
    """Places of a curve that stand side by side, in their order; empty if all are numbers."""
    places = in_order(
        across.place(record, arm) for record in records for arm in _arms(record, across)
    )
    return list(map(written, places)) if any(isinstance(item, str) for item in places) else []


def curve_rows(
    records: Sequence[RunRecord], across: Across, asr: DrawnAsr = PRIMARY
) -> pd.DataFrame:
    """Every arm of the class or of the training table, its controls, and the dense models.

    Args:
        records: One curve; see :func:`curves_of`.
        across: What it runs over.
        asr: Which ASR.

    Returns:
        ``metric`` (``asr`` in percent, ``perplexity``), ``what`` (``chosen``, one of ``CONTROLS``
        or a dense model), the place (``share_pct`` of unit parameters, 0 if dense, or the key:
        numbers, or words if any of them is one), ``seed``, ``draw``, ``value``, ``n``.

    Raises:
        ConfigError: No record measured that ASR.
    """

    words = bool(categories_of(records, across))

    def arms(record: RunRecord) -> Iterator[tuple[ArmRecord, dict[str, Any]]]:
        drawn = [(arm, arm.control or CHOSEN) for arm in _arms(record, across)]
        itself = [arm for arm, _ in drawn]
        dense = [(arm, arm.label) for arm in _dense(record) if arm not in itself]
        for arm, what in (*dense, *drawn):
            place = across.place(record, arm)
            yield arm, {"what": what, across.column: written(place) if words else place}

    return drawn_rows(records, asr, arms).drop(columns=["low", "high"])


def _dense(record: RunRecord) -> Iterator[ArmRecord]:
    for arm in record.arms:
        whole = arm.unit_class is None and arm.arm is None
        if whole or arm.arm == "full":
            yield arm


def _arms(record: RunRecord, across: Across) -> Iterator[ArmRecord]:
    """The class's arms with the primary fill of their run; of a training table, the arm.

    Over shares these are all that change a share of the units: adapters and full training do not.
    """
    for arm in record.arms:
        if record.artefact == TABLE1:
            fill = record.config["ablation"]["primary_fill"]
            if arm.unit_class == across.unit_class and arm.fill == fill:
                yield arm
        elif across.key is not None:
            if arm.arm == across.unit_class:
                yield arm
        elif arm.arm is not None and arm.units > 0:
            yield arm
