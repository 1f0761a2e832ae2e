"""Selectors made of other selectors: union, intersection, complement, and controls.

Configs name them as ``ssah_exp.units.selectors.AnyOf`` and so on, beside the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.units.controls import STREAMS, Wording, control_stream, draw_control
from ssah_exp.units.selecting import (
    Selector,
    check_at_least,
    check_choice,
    check_flag,
    check_list,
    check_selector,
    select_units,
)
from ssah_exp.units.unitmap import UnitMap


@dataclass(frozen=True)
class _Joined:
    """Several selectors; none may come out empty."""

    of: list[Selector]

    def __post_init__(self) -> None:
        """Check the arguments."""
        name = f"{type(self).__name__}.of"
        check_list(name, self.of)
        for at, part in enumerate(self.of):
            check_selector(f"{name}.{at}", part)

    def _parts(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(parts, units)`` bool."""
        parts = [select_units(part, units, seed, f"of.{at}") for at, part in enumerate(self.of)]
        return np.stack(parts)


@dataclass(frozen=True)
class AnyOf(_Joined):
    """The union: units that at least one of the selectors matches."""

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool.

        Raises:
            UnitError: One of the selectors matches nothing.
        """
        mask: NDArray[np.bool_] = np.logical_or.reduce(self._parts(units, seed))
        return mask


@dataclass(frozen=True)
class AllOf(_Joined):
    """The intersection: units that every one of the selectors matches."""

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool.

        Raises:
            UnitError: One of the selectors matches nothing.
        """
        mask: NDArray[np.bool_] = np.logical_and.reduce(self._parts(units, seed))
        return mask


@dataclass(frozen=True)
class Not:
    """The complement: all other units of the model."""

    of: Selector

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_selector("Not.of", self.of)

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool.

        Raises:
            UnitError: The selector matches nothing.
        """
        return ~select_units(self.of, units, seed, "of")


@dataclass(frozen=True)
class Like:
    """A control for another selector: as many units, in the same blocks, of the same kinds.

    Attributes:
        of: The set that the control is for.
        control: ``random``, ``matched``, ``shifted`` or ``normed``, see
            :func:`ssah_exp.units.controls.draw_control`.
        draw: Number of the draw, from 0; with the same pool, this is the pruning table's control of
            the same number.
        pool: Candidates per unit for all but ``random``.
        overlap: Whether the control may share units with the set.
        exclude: Units that the control does not draw from, e.g. ``OfClass(["SCU"])``; None = all
            may be drawn.
    """

    of: Selector
    control: str
    draw: int
    pool: int = 5
    overlap: bool = False
    exclude: Selector | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_selector("Like.of", self.of)
        check_choice("Like.control", self.control, STREAMS)
        check_at_least("Like.draw", self.draw, 0)
        check_at_least("Like.pool", self.pool, 1)
        check_flag("Like.overlap", self.overlap)
        if self.exclude is not None:
            check_selector("Like.exclude", self.exclude)

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool.

        Raises:
            UnitError: The set or ``exclude`` is empty, or too few units are left to draw from.
        """
        target = select_units(self.of, units, seed, "of")
        within = None
        if self.exclude is not None:
            within = ~select_units(self.exclude, units, seed, "exclude")
        stream = control_stream(seed, self.control, self.draw)
        return draw_control(
            units,
            target,
            self.control,
            stream,
            pool=self.pool,
            overlap=self.overlap,
            within=within,
            wording=Wording(option="Like.overlap", bound="what Like.exclude leaves"),
        ).mask
