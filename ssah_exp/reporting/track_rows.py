"""Transfer followed through a training, as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssah_exp.units.transfer import CLASSES


def track_rows(track: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per look and cell.

    Args:
        track: Of one arm, as in its record: ``step`` and the 4 x 4 table ``units``.

    Returns:
        ``step``, ``from`` (the class before the first step), ``to`` (the class at that step),
        ``units``, and ``of_before_pct``, their share of the class before; empty where that class
        has no units.
    """
    rows: list[dict[str, Any]] = []
    for look in track:
        table = np.asarray(look["units"], dtype=np.int64)
        for before, counts in zip(CLASSES, table, strict=True):
            whole = int(counts.sum())
            rows += [
                {
                    "step": int(look["step"]),
                    "from": before,
                    "to": after,
                    "units": int(count),
                    "of_before_pct": 100 * int(count) / whole if whole else None,
                }
                for after, count in zip(CLASSES, counts, strict=True)
            ]
    return pd.DataFrame(rows).astype({"of_before_pct": "float64"})
