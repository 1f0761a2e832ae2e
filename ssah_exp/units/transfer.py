"""Attribute transfer (protocol section 6): which units changed class between two models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.errors import UnitError, did_you_mean
from ssah_exp.units.classes import lowest, transition_counts
from ssah_exp.units.index import KIND_NAMES
from ssah_exp.units.unitmap import UnitMap

# A base model has utility scores only: its redundant units against the rest.
BASE_CLASSES = ("utility", "redundant")
PARTS = ("all", "layer", "kind")
# Classes after that count as unchanged, where the class before has another name.
_KEPT = {"utility": ("SCU", "UCU", "CU"), "redundant": ("RU",)}


@dataclass(frozen=True)
class Flow:
    """Where the units of each class went.

    Attributes:
        part: ``all``, ``layer N`` (counted from 0), ``head`` or ``neuron``.
        before: Names of the rows, classes in the first model.
        after: Names of the columns, classes in the second.
        units: ``(before, after)`` int64, units.
        parameters: ``(before, after)`` float64, their weights.
    """

    part: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    units: NDArray[np.int64]
    parameters: NDArray[np.float64]

    def shares(self, of: str = "units") -> NDArray[np.float64]:
        """``(before, after)`` float64 that sums to 1 (to 0 where the part holds nothing).

        Args:
            of: ``units`` or ``parameters``.

        Raises:
            UnitError: ``of`` is another word.
        """
        if of not in ("units", "parameters"):
            raise UnitError(f"of={of}.{did_you_mean(of, ('units', 'parameters'))}")
        table = np.asarray(getattr(self, of), dtype=np.float64)
        total = float(table.sum())
        return table / total if total else table

    def kept(self, of: str = "units") -> float:
        """Share on the diagonal: of all units or parameters, those that kept their class.

        From a base model, ``redundant`` keeps its class as RU and ``utility`` as any other.
        """
        shares = self.shares(of)
        return float(sum(shares[row, self._diagonal(row)].sum() for row in range(len(self.before))))

    def kept_of(self, before: str) -> float:
        """Of the units that were ``before``, the share that kept the class; 0 if there are none.

        Raises:
            UnitError: No such class.
        """
        row = _position(before, self.before)
        return float(self.units[row, self._diagonal(row)].sum() / max(self.units[row].sum(), 1))

    def _diagonal(self, row: int) -> list[int]:
        """The columns that mean an unchanged class."""
        names = _KEPT.get(self.before[row], (self.before[row],))
        return [self.after.index(name) for name in names]

    def moved(self, before: str, after: str) -> tuple[int, int]:
        """How many of the units that were ``before`` are ``after``, and how many were ``before``.

        Raises:
            UnitError: No such class.
        """
        row, column = _position(before, self.before), _position(after, self.after)
        return int(self.units[row, column]), int(self.units[row].sum())

    def chance(self, after: str) -> float:
        """Share that would be ``after`` if the class before said nothing: its share of all units.

        Raises:
            UnitError: No such class.
        """
        return float(self.shares()[:, _position(after, self.after)].sum())


def transfer(before: UnitMap, after: UnitMap, *, by: str = "all", base: bool = False) -> list[Flow]:
    """Count the units that went from each class of one model to each class of another.

    Units are matched by number: this is meaningful where the second model was trained from the
    first, so that heads or neurons with the same number are the same.

    Args:
        before: Units of the first model.
        after: Units of the second, of the same architecture.
        by: ``all`` (one table), ``layer`` (one per block) or ``kind`` (heads and neurons apart).
        base: The first model is a base model: its safety scores are not read, see
            :func:`base_classes`.

    Returns:
        One table per part, in order.

    Raises:
        UnitError: The architectures differ, or ``by`` is unknown.
    """
    check_same_architecture(before, after)
    names = BASE_CLASSES if base else CLASSES
    rows = base_classes(before) if base else before.classes
    return [
        _flow(part, names, rows[mask], after.classes[mask], after.index.parameters[mask])
        for part, mask in _parts(after, by)
    ]


def base_classes(units: UnitMap) -> NDArray[np.uint8]:
    """Classes of a base model, which has no refusals to score (protocol section 6).

    Redundant are the lowest z_U up to the map's RU budget; the rest is utility.

    Returns:
        ``(units,)`` uint8, positions in :data:`BASE_CLASSES`.
    """
    weights = units.index.parameters
    if units.budgets.unit == "units":
        weights = np.ones_like(weights)
    classes = np.zeros(units.utility.shape, dtype=np.uint8)
    classes[lowest(units.utility, weights, units.budgets.ru * float(weights.sum()))] = 1
    return classes


def check_base(before: UnitMap, after: UnitMap) -> None:
    """Refuse the same weights as base model and as what was made of it.

    In a run with ``alignment=none``, ``base`` is the chat model itself.

    Raises:
        UnitError: The fingerprints are equal.
    """
    if before.provenance.fingerprint == after.provenance.fingerprint:
        raise UnitError(
            f"Both maps are of the same weights, {before.provenance.model} "
            f"({before.provenance.fingerprint[:12]}): none is the other's base model."
        )


def check_same_architecture(before: UnitMap, after: UnitMap) -> None:
    """Refuse models whose units do not correspond.

    Raises:
        UnitError: Names the sizes that differ.
    """
    mine, theirs = before.anatomy.as_dict(), after.anatomy.as_dict()
    differing = [
        f"{name} {mine[name]} and {theirs[name]}" for name in mine if mine[name] != theirs[name]
    ]
    if differing:
        raise UnitError(
            f"The architectures of {before.provenance.model} and {after.provenance.model} differ: "
            f"{', '.join(differing)}. Units can be followed within one architecture only."
        )


def differences(before: UnitMap, after: UnitMap) -> list[str]:
    """What differs between two maps besides the weights, as sentences.

    Classes cut or scored in another way move units that training left alone.
    """
    found: list[str] = []
    if before.budgets != after.budgets:
        found.append(f"Budgets differ: {before.budgets} and {after.budgets}.")
    mine, theirs = before.provenance, after.provenance
    for name in ("statistic", "calibration", "settings"):
        if getattr(mine, name) != getattr(theirs, name):
            found.append(f"The {name} of the scores differs between the two.")
    return found


def _parts(units: UnitMap, by: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    index = units.index
    if by == "all":
        yield by, np.ones(units.anatomy.units, dtype=bool)
    elif by == "layer":
        for layer in range(units.anatomy.layers):
            yield f"layer {layer}", index.layer == layer
    elif by == "kind":
        for kind, name in enumerate(KIND_NAMES):
            yield name, index.kind == kind
    else:
        raise UnitError(f"by={by}.{did_you_mean(by, PARTS)}")


def _flow(
    part: str,
    names: tuple[str, ...],
    rows: NDArray[np.uint8],
    columns: NDArray[np.uint8],
    parameters: NDArray[np.float64],
) -> Flow:
    units = transition_counts(rows, columns, len(names))
    weights = transition_counts(rows, columns, len(names), parameters)
    return Flow(part, names, CLASSES, units, weights)


def _position(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise UnitError(f"No class '{name}'.{did_you_mean(name, names)}")
    return names.index(name)
