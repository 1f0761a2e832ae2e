"""Holm's correction for testing many hypotheses at once (Holm 1979); no other is used here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust every p-value that is there; gaps stay gaps and are not counted.

    The k-th smallest of m is multiplied by m - k + 1, is never below one that was smaller, and
    never above 1. scipy has no such adjustment; that of statsmodels, which the tests compare this
    with, collects all of Python's garbage on every call.

    Args:
        p_values: In any order.

    Returns:
        Adjusted p-values in the order given.
    """
    there = np.array([p for p in p_values if p is not None], dtype=np.float64)
    order = np.argsort(there, kind="stable")
    stepped = np.maximum.accumulate(there[order] * np.arange(len(there), 0, -1)).clip(max=1)
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    values = iter(adjusted.tolist())
    return [None if p is None else next(values) for p in p_values]
