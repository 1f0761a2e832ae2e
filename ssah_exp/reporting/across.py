"""What a curve runs over: a share of parameters, or a key of the config that was swept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.errors import ConfigError, SsahWarning, did_you_mean
from ssah_exp.records.dotted import at, dotted
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.settings import fixed_inputs
from ssah_exp.reporting.swept import Place, decided_by, is_number, moved_with, place_of


@dataclass(frozen=True)
class Across:
    """What a curve runs over.

    Attributes:
        key: Dotted key of a number or a word in the config; None = the share of unit parameters
            that arms change.
        unit_class: Class or named set of a pruning table that is drawn, or, over a key, the arm of
            a training table; not read for shares of a training table.
    """

    key: str | None = None
    unit_class: str = "SCU"

    @property
    def column(self) -> str:
        """Name of its column in :func:`ssah_exp.reporting.curves.curve_rows`."""
        return "share_pct" if self.key is None else self.key

    @property
    def label(self) -> str:
        """What is written at its axis."""
        return "share of unit parameters, %" if self.key is None else self.key

    def place(self, record: RunRecord, arm: ArmRecord) -> Place:
        """Where an arm stands; shares, in percent, to two digits, so that seeds and draws agree."""
        if self.key is None:
            return float(f"{100 * arm.parameter_share:.2g}")
        place = place_of(at(record.config, self.key))
        assert place is not None  # see placed
        return place

    def rest(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config without what the curve runs over, what moves with it, and the seed."""
        rest = {**deepcopy(config), "seed": None}
        for key in moved_with(self.key or self._decides(config)):
            _leave_out(rest, key)
        return rest

    def _decides(self, config: dict[str, Any]) -> str:
        """The key that says how large the drawn set is."""
        if self.unit_class in config.get("ablation", {}).get("sets", {}):
            return f"ablation.sets.{self.unit_class}"
        return f"units.budgets.{self.unit_class.lower()}"

    def files(self, record: RunRecord) -> dict[str, str]:
        """Inputs that must be alike: those that no seed draws and the curve does not run over."""
        moved = self._moved_files(record)
        return {name: item for name, item in fixed_inputs(record).items() if name not in moved}

    def _moved_files(self, record: RunRecord) -> set[str]:
        """Inputs that may differ between places: of ``data``, all or those of the key."""
        moved: set[str] = set()
        for group, _, rest in (key.partition(".") for key in moved_with(self.key or "")):
            of_data = {rest.split(".")[0]} if rest else set(record.config["data"])
            moved |= of_data if group == "data" else {group}
        return moved

    def decided(self, record: RunRecord) -> dict[str, Any]:
        """What must be alike at each place: dotted keys that its word decides, and those files."""
        if not decided_by(self.key or ""):
            return {}
        moved, fixed = self._moved_files(record), fixed_inputs(record)
        files = {f"the file of {name}": item for name, item in fixed.items() if name in moved}
        return dict(self._decided_keys(record.config)) | files

    def _decided_keys(self, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for key in decided_by(self.key or ""):
            yield from dotted({key: at(config, key)}, into=lambda items: True)

    def placed(self, records: Sequence[RunRecord]) -> Sequence[RunRecord]:
        """The records with a number or a word at the key; a warning counts those without.

        Raises:
            ConfigError: No record has a number there, nor do words differ; or some records are of
                a training table without the arm.
        """
        if self.key is None:
            return records
        self._check_arms(records)
        values = [place_of(at(record.config, self.key)) for record in records]
        if not any(map(is_number, values)) and len({*values} - {None}) <= 1:
            raise ConfigError(
                f"--by {self.key}: no number of these records' config, nor a word that differs "
                f"among them.{did_you_mean(self.key, _to_run_over(records))}"
            )
        pairs = zip(records, values, strict=True)
        found = [record for record, value in pairs if value is not None]
        if left := len(records) - len(found):
            what = "number" if all(map(is_number, {*values} - {None})) else "number or word"
            warnings.warn(
                f"--by {self.key}: {left} of {len(records)} records have no {what} there and are "
                "left out.",
                SsahWarning,
                stacklevel=3,
            )
        return found

    def _check_arms(self, records: Sequence[RunRecord]) -> None:
        """Training tables have no arm that is meant unless another is named."""
        trained = [record for record in records if record.artefact != TABLE1]
        named = dict.fromkeys(arm.arm for record in trained for arm in record.arms if arm.arm)
        if trained and self.unit_class not in named:
            raise ConfigError(
                f"--by {self.key}: only {TABLE1} is drawn over a key of the config without an arm "
                f"that is named. Give --of one of {', '.join(named)}."
            )


def _leave_out(config: dict[str, Any], key: str) -> None:
    """Remove a key in place; in a list, the others keep their numbers."""
    path, _, last = key.rpartition(".")
    holder = at(config, path) if path else config
    if isinstance(holder, list):
        holder[int(last)] = None
    elif isinstance(holder, dict):
        holder.pop(last, None)


def _to_run_over(records: Sequence[RunRecord]) -> list[str]:
    """Keys of numbers, and of words that differ."""
    leaves = [dict(dotted(record.config, into=lambda items: True)) for record in records]
    numbers = dict.fromkeys(
        key for key, value in chain(*(found.items() for found in leaves)) if is_number(value)
    )
    words = [
        key
        for key in dict.fromkeys(chain(*leaves))
        if len({place_of(found.get(key)) for found in leaves} - {None}) > 1
    ]
    return list(dict.fromkeys([*numbers, *words]))
