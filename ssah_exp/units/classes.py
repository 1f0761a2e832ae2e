"""From scores to the four classes (protocol section 2): pure functions, no forward pass."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.errors import UnitError


class UnitClass(IntEnum):
    """Safety-critical, utility-critical, complex and redundant units."""

    SCU = 0
    UCU = 1
    CU = 2
    RU = 3


def transition_counts(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    rows: int = len(UnitClass),
    weights: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """How many units went from each class to each.

    Args:
        before: ``(units,)``, integers below ``rows``.
        after: ``(units,)``, values of :class:`UnitClass`.
        rows: Number of classes before.
        weights: ``(units,)``; if given, weights are summed instead of units counted.

    Returns:
        ``(rows, 4)`` int64, or float64 with ``weights``.
    """
    columns = len(UnitClass)
    cells = columns * before.astype(np.int64) + after
    counts = np.bincount(cells, weights=weights, minlength=rows * columns)
    return counts.reshape(rows, columns)


def classify(
    safety: NDArray[np.float64],
    utility: NDArray[np.float64],
    parameters: NDArray[np.float64],
    budgets: BudgetsConfig,
) -> NDArray[np.uint8]:
    """Assign a class to every unit.

    RU are the lowest z_S + z_U, SCU the highest z_S - z_U, UCU the lowest z_S - z_U, each up to
    its budget; the rest is CU. With ``overlap: overwrite`` the sets are taken in that order and a
    later one takes units from an earlier one, as published. With ``refill`` each set is filled
    from units that no set of higher precedence holds, so that every budget is met.

    Args:
        safety: ``(units,)`` normalised safety scores z_S.
        utility: ``(units,)`` normalised utility scores z_U.
        parameters: ``(units,)`` weights of each unit.
        budgets: Shares and what they are shares of.

    Returns:
        ``(units,)`` uint8, values of :class:`UnitClass`.

    Raises:
        UnitError: The arrays differ in length.
    """
    if not safety.shape == utility.shape == parameters.shape:
        raise UnitError(
            f"Scores and weights differ in length: {safety.shape}, {utility.shape}, "
            f"{parameters.shape}."
        )
    weights = parameters if budgets.unit == "params" else np.ones_like(parameters)
    preference = safety - utility
    # Ascending rankings and budgets, in the published order of assignment.
    rankings = {
        UnitClass.RU: (safety + utility, budgets.ru),
        UnitClass.SCU: (-preference, budgets.scu),
        UnitClass.UCU: (preference, budgets.ucu),
    }
    classes = np.full(safety.shape, UnitClass.CU, dtype=np.uint8)
    if budgets.overlap == "overwrite":
        for unit_class, (ranking, share) in rankings.items():
            classes[lowest(ranking, weights, share * weights.sum())] = unit_class
        return classes
    for unit_class, (ranking, share) in reversed(rankings.items()):
        free = np.flatnonzero(classes == UnitClass.CU)
        chosen = lowest(ranking[free], weights[free], share * weights.sum())
        classes[free[chosen]] = unit_class
    return classes


def lowest(
    ranking: NDArray[np.float64], weights: NDArray[np.float64], budget: float
) -> NDArray[np.int64]:
    """The longest run of lowest-ranked units whose weights sum to at most ``budget``.

    Ties are broken by position, so the result is the same everywhere.

    Args:
        ranking: ``(n,)``, lowest first.
        weights: ``(n,)``, positive.
        budget: In the same unit as ``weights``.

    Returns:
        Positions, best first.
    """
    few = _candidates(ranking, weights, budget)
    order = few[np.argsort(ranking[few], kind="stable")]
    # A hair of slack: sums of many fractional weights round.
    within = np.cumsum(weights[order]) <= budget * (1 + 1e-12)
    return order[: int(within.sum())]


def _candidates(
    ranking: NDArray[np.float64], weights: NDArray[np.float64], budget: float
) -> NDArray[np.int64]:
    """Positions, ascending, that may be within the budget: the others need not be sorted."""
    # As many of the lightest unit as fit, and two more: one that no longer fits, one for rounding.
    most = int(budget / weights.min()) + 2 if weights.size else 0
    if most >= ranking.size:
        return np.arange(ranking.size)
    bound = np.partition(ranking, most - 1)[most - 1]
    return np.flatnonzero(ranking <= bound)
