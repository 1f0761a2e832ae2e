"""How far two classifications of the same units agree, and how that spreads over draws."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.units.classes import UnitClass, transition_counts

# A classification: ``(units,)`` uint8 classes, and ``(units,)`` :func:`centred_ranks` of z_S - z_U.
Classified = tuple[NDArray[np.uint8], NDArray[np.float64]]


@dataclass(frozen=True)
class Spread:
    """Mean over draws with a percentile interval.

    Attributes:
        mean: None where no draw has a value.
        low: Lower percentile; None for a single draw.
        high: Upper percentile.
    """

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ClassAgreement:
    """One comparison.

    Attributes:
        name: What was compared.
        size: Examples drawn from each set (from the smaller one, where they differ); None where
            the comparison does not choose a size.
        draws: Times it was repeated.
        jaccard: By class, |A and B| / |A or B| of the units in it.
        spearman: Rank correlation of z_S - z_U over all units.
    """

    name: str
    size: int | None
    draws: int
    jaccard: dict[str, Spread]
    spearman: Spread


def jaccards(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Jaccard overlap of every class.

    Args:
        first: ``(units,)`` class of each unit.
        second: The same of another classification.

    Returns:
        ``(4,)`` float64 in the order of :class:`UnitClass`; NaN for a class that is empty in both.
    """
    table = transition_counts(first, second)
    both = table.diagonal().astype(np.float64)
    either = table.sum(axis=0) + table.sum(axis=1) - both
    overlap: NDArray[np.float64] = np.full(len(table), np.nan)
    np.divide(both, either, out=overlap, where=either > 0)
    return overlap


def centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks less their mean, ``(units,)``; ties at their mean rank."""
    order = np.argsort(values)
    ordered = values[order]
    if (ordered[1:] == ordered[:-1]).any():
        from scipy.stats import rankdata  # late: it takes longer to import than to show units

        ranks = np.asarray(rankdata(values), dtype=np.float64)
    else:  # no ties, as nearly always: much faster
        ranks = np.empty(values.size)
        ranks[order] = np.arange(1, values.size + 1)
    return ranks - (values.size + 1) / 2


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's correlation of two :func:`centred_ranks`; NaN if one side is constant."""
    norm = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / norm if norm else float("nan")


def spread(values: NDArray[np.float64], confidence: float = 0.95) -> Spread:
    """Summarise draws, ``(draws,)``; those without a value (NaN) are left out."""
    known = values[~np.isnan(values)]
    if known.size == 0:
        return Spread(None, None, None)
    mean = float(known.mean())
    if known.size == 1:
        return Spread(mean, None, None)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Spread(mean, float(low), float(high))


def agreement(
    name: str, size: int | None, pairs: Iterable[tuple[Classified, Classified]]
) -> ClassAgreement:
    """Compare classifications, one pair a draw.

    Args:
        name: What is compared.
        size: See :class:`ClassAgreement`.
        pairs: At least one; taken one at a time, so that an iterator keeps none in memory.
    """
    rows = [
        (jaccards(mine, theirs), spearman(ours, ranks)) for (mine, ours), (theirs, ranks) in pairs
    ]
    overlaps, correlations = (np.array(part) for part in zip(*rows, strict=True))
    jaccard = {item.name: spread(overlaps[:, int(item)]) for item in UnitClass}
    return ClassAgreement(name, size, len(rows), jaccard, spread(correlations))
