"""The vocabulary for sets of units: ``_target_`` nodes that nest.

Selectors made of others are defined in :mod:`ssah_exp.units.combine` and can be named from here.
Wrong arguments raise :class:`~ssah_exp.errors.UnitError` as soon as a selector is made. Apply one
with :func:`select_units`, which also refuses a set that comes out empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.errors import UnitError
from ssah_exp.units.classes import lowest
from ssah_exp.units.combine import AllOf, AnyOf, Like, Not
from ssah_exp.units.index import KIND_NAMES
from ssah_exp.units.selecting import (
    Selector,
    check_at_least,
    check_choice,
    check_list,
    check_selector,
    select_units,
)
from ssah_exp.units.unitmap import UnitMap

__all__ = [
    "AllOf",
    "AnyOf",
    "Blocks",
    "FromMap",
    "Like",
    "Not",
    "OfClass",
    "OfKind",
    "Ranked",
    "Selector",
    "select_units",
]


_RANKINGS: dict[str, Callable[[UnitMap], NDArray[np.float64]]] = {
    "safety": lambda units: units.safety,
    "utility": lambda units: units.utility,
    "importance": lambda units: units.safety + units.utility,
    "preference": lambda units: units.safety - units.utility,
    "shift": lambda units: units.known("shift"),
    "norm": lambda units: units.known("norm"),
}


def _check_classes(name: str, value: object) -> None:
    """Refuse anything but a list of classes.

    Raises:
        UnitError: Names the argument.
    """
    check_list(name, value)
    for item in cast(Sequence[object], value):
        check_choice(name, item, CLASSES)


@dataclass(frozen=True)
class OfClass:
    """All units of the named classes.

    Attributes:
        names: Any of ``SCU``, ``UCU``, ``CU``, ``RU``.
    """

    names: list[str]

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_classes("OfClass.names", self.names)

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool."""
        return units.select_any(self.names)


@dataclass(frozen=True)
class Ranked:
    """The longest run of the highest or lowest units of a set that fits a share.

    Attributes:
        by: ``safety`` (z_S), ``utility`` (z_U), ``importance`` (z_S + z_U), ``preference``
            (z_S - z_U), ``shift`` (how far its mean moves between the calibration sets) or
            ``norm`` (how large the weights behind it are).
        end: ``highest`` or ``lowest``.
        share: Above 0, at most 1.
        of: The set to rank; None = all units.
        unit: What the share counts: ``params`` or ``units``.
        share_of: What it is a share of: the whole ``model``, or the ranked ``set``.
    """

    by: str
    end: str
    share: float
    of: Selector | None = None
    unit: str = "params"
    share_of: str = "model"

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_choice("Ranked.by", self.by, _RANKINGS)
        check_choice("Ranked.end", self.end, ("highest", "lowest"))
        check_choice("Ranked.unit", self.unit, ("params", "units"))
        check_choice("Ranked.share_of", self.share_of, ("model", "set"))
        if isinstance(self.share, bool) or not isinstance(self.share, int | float):
            raise UnitError(f"Ranked.share={self.share!r} is not a number.")
        if not 0 < self.share <= 1:
            raise UnitError(f"Ranked.share={self.share:g} lies outside (0, 1].")
        if self.of is not None:
            check_selector("Ranked.of", self.of)

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool; ties are broken by position.

        Raises:
            UnitError: The set is empty, or ``units`` holds no shift or norm to rank by.
        """
        mask = np.zeros(units.anatomy.units, dtype=np.bool_)
        candidates = np.arange(mask.size)
        if self.of is not None:
            candidates = np.flatnonzero(select_units(self.of, units, seed, "of"))
        weights = units.index.parameters if self.unit == "params" else np.ones(mask.size)
        whole = weights if self.share_of == "model" else weights[candidates]
        ranking = self._ranking(units)[candidates]
        mask[candidates[lowest(ranking, weights[candidates], self.share * whole.sum())]] = True
        return mask

    def _ranking(self, units: UnitMap) -> NDArray[np.float64]:
        """``(units,)`` float64, lowest first."""
        scores = _RANKINGS[self.by](units)
        return scores if self.end == "lowest" else -scores


@dataclass(frozen=True)
class Blocks:
    """All units of consecutive blocks, counted from 1 as in the paper; both ends are included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_at_least("Blocks.first", self.first, 1)
        check_at_least("Blocks.last", self.last, 1)
        if self.last < self.first:
            raise UnitError(f"Blocks.last={self.last} comes before Blocks.first={self.first}.")

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool.

        Raises:
            UnitError: The model has fewer blocks.
        """
        if self.last > units.anatomy.layers:
            raise UnitError(
                f"Blocks.last={self.last} is out of range: {units.provenance.model} has "
                f"{units.anatomy.layers} blocks, counted from 1."
            )
        block = units.index.layer + 1
        mask: NDArray[np.bool_] = (block >= self.first) & (block <= self.last)
        return mask


@dataclass(frozen=True)
class OfKind:
    """All units of one kind: ``head`` or ``neuron``."""

    kind: str

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_choice("OfKind.kind", self.kind, KIND_NAMES)

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool."""
        mask: NDArray[np.bool_] = units.index.kind == KIND_NAMES.index(self.kind)
        return mask


@dataclass(frozen=True)
class FromMap:
    """Classes of another UnitMap of the same model, for instance a consensus.

    Attributes:
        path: Its folder, or either of the two files in it.
        sha256: Checksum of its tensors, as in its ``unitmap.json``. It enters the run id in place
            of the path, and another file is refused.
        names: Any of ``SCU``, ``UCU``, ``CU``, ``RU``.
    """

    path: str
    sha256: str
    names: list[str]

    def __post_init__(self) -> None:
        """Check the arguments, and that the map is there: a model may be trained before it is read.

        Raises:
            UnitError: No such class or map, or another map than named.
        """
        _check_classes("FromMap.names", self.names)
        self._map()

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool.

        Raises:
            UnitError: The map is gone, was replaced, or is one of another model.
        """
        other = self._map()
        other.check_model(units.anatomy, units.provenance.fingerprint)
        return other.select_any(self.names)

    def _map(self) -> UnitMap:
        folder = Path(self.path).expanduser()
        other = UnitMap.load(folder)
        found = UnitMap.checksum(folder)
        if found != self.sha256:
            raise UnitError(f"The UnitMap in {folder} has sha256 {found}, not {self.sha256}.")
        return other
