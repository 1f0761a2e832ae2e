"""Overlap of a class between models of one architecture, beside chance at equal layer mix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ssah_exp.errors import UnitError
from ssah_exp.units.agreement import Spread, spread
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.transfer import check_same_architecture
from ssah_exp.units.unitmap import UnitMap


@dataclass(frozen=True)
class Overlap:
    """One pair of models.

    Attributes:
        first: Name of the first model.
        second: Name of the second model.
        units: How many units each has in the class.
        shared: How many are in the class in both.
        jaccard: Shared, as a share of those in the class in either; None if neither has any.
        chance: Jaccard overlap of random sets with as many units per layer and kind.
        at_chance: Share of the random sets that overlap at least as much, with one added to both
            counts: a one-sided p-value.
    """

    first: str
    second: str
    units: tuple[int, int]
    shared: int
    jaccard: float | None
    chance: Spread
    at_chance: float


def overlaps(
    maps: Mapping[str, UnitMap],
    unit_class: UnitClass,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> list[Overlap]:
    """Compare every two models.

    Units with the same number are taken to be the same unit, which is meaningful only where the
    models share an ancestor.

    Args:
        maps: By name, at least two, of one architecture.
        unit_class: The class to compare.
        draws: Random sets per pair, at least 100.
        seed: Decides them.

    Raises:
        UnitError: Fewer than two maps, fewer than 100 draws, or different architectures.
    """
    if len(maps) < 2:
        raise UnitError("An overlap needs two UnitMaps at least.")
    if draws < 100:
        raise UnitError(f"draws={draws} is below 100.")
    generator = np.random.default_rng(seed)
    found: list[Overlap] = []
    for (first, one), (second, other) in combinations(maps.items(), 2):
        check_same_architecture(one, other)
        mine, theirs = one.select(unit_class), other.select(unit_class)
        shared, sizes = int((mine & theirs).sum()), (int(mine.sum()), int(theirs.sum()))
        random = chance_shared(one.index, mine, theirs, draws, generator)
        found.append(
            Overlap(
                first,
                second,
                sizes,
                shared,
                None if sum(sizes) == 0 else shared / (sum(sizes) - shared),
                spread(_jaccard(random, sum(sizes))),
                float((1 + (random >= shared).sum()) / (1 + draws)),
            )
        )
    return found


def chance_shared(
    index: UnitIndex,
    mine: NDArray[np.bool_],
    theirs: NDArray[np.bool_],
    draws: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Units that two sets share if one is shuffled within every layer and kind.

    Within one layer and kind that count is hypergeometric, so nothing has to be shuffled.

    Args:
        index: Addresses of the units.
        mine: ``(units,)`` bool.
        theirs: ``(units,)`` bool.
        draws: How often.
        generator: Decides them.

    Returns:
        ``(draws,)`` int64.
    """
    strata = 2 * index.anatomy.layers
    whole, ours, others = (
        np.bincount(index.stratum[mask], minlength=strata)
        for mask in (np.ones_like(mine), mine, theirs)
    )
    random = generator.hypergeometric(ours, whole - ours, others, size=(draws, strata))
    shared: NDArray[np.int64] = random.sum(axis=1)
    return shared


def _jaccard(shared: NDArray[np.int64], sizes: int) -> NDArray[np.float64]:
    if sizes == 0:
        return np.full(shared.shape, np.nan)
    return shared / (sizes - shared)
