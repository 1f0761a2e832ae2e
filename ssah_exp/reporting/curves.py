"""Curves: records that differ in one value of the config, and what was measured at each value."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError, SsahWarning, StoreError, did_you_mean
from ssah_exp.records.dotted import at, dotted
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.figures.drawn_asr import PRIMARY, DrawnAsr
from ssah_exp.reporting.figures.drawn_rows import drawn_rows
from ssah_exp.reporting.settings import fixed_inputs, settings_of

CHOSEN = "chosen"
_AT_LEAST = 2  # places that make a curve


@dataclass(frozen=True)
class Across:
    """What a curve runs over.

    Attributes:
        key: Dotted key of a number in the config; None = the share of unit parameters that arms
            change.
        unit_class: Class or named set of a pruning table that is drawn; not read for a training
            table.
    """

    key: str | None = None
    unit_class: str = "SCU"

    @property
    def column(self) -> str:
        """Name of its column in :func:`curve_rows`."""
        return "share_pct" if self.key is None else self.key

    @property
    def label(self) -> str:
        """What is written at its axis."""
        return "share of unit parameters, %" if self.key is None else self.key

    def place(self, record: RunRecord, arm: ArmRecord) -> float:
        """Where an arm stands; shares, in percent, to two digits, so that seeds and draws agree."""
        if self.key is None:
            return float(f"{100 * arm.parameter_share:.2g}")
        return float(at(record.config, self.key))

    def rest(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config without what the curve runs over, and without the seed."""
        rest = {**deepcopy(config), "seed": None}
        path, _, last = (self.key or self._decides(config)).rpartition(".")
        holder = at(rest, path) if path else rest
        if isinstance(holder, list):
            holder[int(last)] = None  # the others keep their places
        else:
            holder.pop(last, None)
        return rest

    def _decides(self, config: dict[str, Any]) -> str:
        """The key that says how large the drawn set is."""
        if self.unit_class in config.get("ablation", {}).get("sets", {}):
            return f"ablation.sets.{self.unit_class}"
        return f"units.budgets.{self.unit_class.lower()}"

    def files(self, record: RunRecord) -> dict[str, str]:
        """Inputs that must be alike: those that no seed draws and the curve does not run over."""
        key = (self.key or "").split(".")
        moved = key[1] if key[0] == "data" and len(key) > 1 else key[0]
        return {name: item for name, item in fixed_inputs(record).items() if name != moved}

    def placed(self, records: Sequence[RunRecord]) -> Sequence[RunRecord]:
        """The records with a number at the key; a warning counts those without (null, ``max``).

        Raises:
            ConfigError: No record has a number there, or some are not of a pruning table.
        """
        if self.key is None:
            return records
        if any(record.artefact != TABLE1 for record in records):
            raise ConfigError(f"--by {self.key}: only {TABLE1} is drawn over a key of the config.")
        found = [record for record in records if _is_number(at(record.config, self.key))]
        if not found:
            leaves = [dotted(record.config, into=lambda items: True) for record in records]
            numbers = dict.fromkeys(key for key, value in chain(*leaves) if _is_number(value))
            hint = did_you_mean(self.key, numbers)
            raise ConfigError(f"--by {self.key}: no number of these records' config.{hint}")
        if left := len(records) - len(found):
            warnings.warn(
                f"--by {self.key}: {left} of {len(records)} records have no number there and are "
                "left out.",
                SsahWarning,
                stacklevel=3,
            )
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def curves_of(records: Sequence[RunRecord], across: Across) -> list[list[RunRecord]]:
    """Groups of records that make one curve: alike in all but the seed and what it runs over.

    Args:
        records: Of one artefact.
        across: What curves run over.

    Raises:
        ConfigError: No record pruned the set; or see :meth:`Across.placed`.
        StoreError: No group has arms at two places.
    """
    records = across.placed(_that_pruned(across.unit_class, records))
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for runs in settings_of(records):
        groups[digest_of([across.rest(runs[0].config), across.files(runs[0])])] += runs
    whole = [curve for group in groups.values() for curve in _apart(group)]
    curves = [group for group in whole if _places(group, across) >= _AT_LEAST]
    if not curves:
        what = "shares of parameters" if across.key is None else f"values of {across.key}"
        raise StoreError(f"No setting among these records has arms of {_AT_LEAST} {what}.")
    return curves


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
            for arm in _arms(record, across.unit_class)
            if not arm.control
        }
    )


def curve_rows(
    records: Sequence[RunRecord], across: Across, asr: DrawnAsr = PRIMARY
) -> pd.DataFrame:
    """Every arm of the class or of the training table, its controls, and the dense models.

    Args:
        records: One curve; see :func:`curves_of`.
        across: What it runs over.
        asr: Which ASR.

    Returns:
        ``metric`` (``asr`` in percent, ``perplexity``), ``what`` (``chosen``, ``random``,
        ``matched`` or a dense model), the place (``share_pct`` of unit parameters, 0 if dense, or
        the key), ``seed``, ``draw``, ``value``, ``n``.

    Raises:
        ConfigError: No record measured that ASR.
    """

    def arms(record: RunRecord) -> Iterator[tuple[ArmRecord, dict[str, Any]]]:
        for arm in (*_dense(record), *_arms(record, across.unit_class)):
            what = arm.label if arm.units == 0 else arm.control or CHOSEN
            yield arm, {"what": what, across.column: across.place(record, arm)}

    return drawn_rows(records, asr, arms).drop(columns=["low", "high"])


def _dense(record: RunRecord) -> Iterator[ArmRecord]:
    for arm in record.arms:
        whole = arm.unit_class is None and arm.arm is None
        if whole or arm.arm == "full":
            yield arm


def _arms(record: RunRecord, unit_class: str) -> Iterator[ArmRecord]:
    """Arms that change a share of the units; adapters and full training have no such share."""
    for arm in record.arms:
        if record.artefact == TABLE1:
            fill = record.config["ablation"]["primary_fill"]
            if arm.unit_class == unit_class and arm.fill == fill:
                yield arm
        elif arm.arm is not None and arm.units > 0:
            yield arm
