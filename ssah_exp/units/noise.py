"""The null of attribute transfer: how many units change class with no training at all.

Classes are cut from a ranking, so units at an edge change class with the calibration examples that
happened to be drawn. Only what goes beyond that is the training's doing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.errors import UnitError
from ssah_exp.units.agreement import Spread, spread
from ssah_exp.units.classes import UnitClass, transition_counts
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.resampling import bootstrap_of, disjoint_of, resampled_maps

# Random streams, independent of each other and of those of the atlases.
_BOTH, _FIRST, _SECOND, _HALVES = 20, 21, 22, 23


@dataclass(frozen=True)
class Noise:
    """Shares of each class before that went to each class after, over resamples.

    Attributes:
        name: ``trained``: the two models on the same resample of the examples. ``redrawn``: the
            first model on two independent resamples. ``halves``: the first model on two halves
            that share no example. The latter two hold no training.
        draws: Resamples.
        shares: By (before, after), as shares of the class before.
    """

    name: str
    draws: int
    shares: dict[tuple[str, str], Spread]


def transfer_noise(
    before: Identification,
    after: Identification,
    units: UnitsConfig,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> list[Noise]:
    """Transfer between two models beside what redrawing the examples does to the first alone.

    Args:
        before: The first model, with the moments of its examples.
        after: The second, calibrated on the same examples.
        units: Budgets and normalisation; the statistic is ``variance``.
        resamples: Draws, at least 2.
        seed: Decides every draw.

    Raises:
        UnitError: No moments, fewer than two resamples, or the second model was given another
            number of examples.
    """
    if resamples < 2:
        raise UnitError(f"resamples={resamples} is below 2.")
    counts, others = (
        {name: item.moments()[name].examples for name in SETS} for item in (before, after)
    )
    if counts != others:
        raise UnitError("The two models were not calibrated on the same examples.")
    both, first, second = (
        bootstrap_of(before, resamples, [seed, stream]) for stream in (_BOTH, _FIRST, _SECOND)
    )
    halved = {name: count // 2 for name, count in counts.items()}
    one, other = disjoint_of(before, halved, resamples, [seed, _HALVES])
    pairs = {
        "trained": ((before, both), (after, both)),
        "redrawn": ((before, first), (before, second)),
        "halves": ((before, one), (before, other)),
    }
    found: list[Noise] = []
    for name, (mine, theirs) in pairs.items():
        maps = zip(resampled_maps(*mine, units), resampled_maps(*theirs, units), strict=True)
        shares = moved_shares((ours[0], yours[0]) for ours, yours in maps)
        found.append(Noise(name, resamples, _spreads(shares)))
    return found


def moved_shares(
    pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> NDArray[np.float64]:
    """``(pairs, 4, 4)`` shares of the class before; NaN where that class is empty."""
    tables = [transition_counts(mine, theirs) for mine, theirs in pairs]
    counts = np.stack(tables).astype(np.float64)
    whole = counts.sum(axis=2, keepdims=True)
    shares: NDArray[np.float64] = np.full_like(counts, np.nan)
    np.divide(counts, whole, out=shares, where=whole > 0)
    return shares


def _spreads(shares: NDArray[np.float64]) -> dict[tuple[str, str], Spread]:
    return {
        (before.name, after.name): spread(shares[:, before, after])
        for before in UnitClass
        for after in UnitClass
    }
