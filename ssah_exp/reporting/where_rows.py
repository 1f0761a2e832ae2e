"""Where units live: counts per layer, kind and class, as rows."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ssah_exp.units.classes import UnitClass
from ssah_exp.units.index import KIND_NAMES
from ssah_exp.units.summary import where_counts
from ssah_exp.units.unitmap import UnitMap


def where_rows(units: UnitMap) -> pd.DataFrame:
    """One row per layer (from 0), kind and class.

    Returns:
        ``layer``, ``kind``, ``class``, ``units``, ``of_layer_pct`` (share of the layer's heads or
        neurons) and ``of_class_pct`` (share of the class; empty where it has no units).
    """
    table = where_counts(units)
    sizes, whole = table.sum(axis=2), table.sum(axis=(0, 1))
    rows: list[dict[str, Any]] = [
        {
            "layer": layer,
            "kind": name,
            "class": item.name,
            "units": int(table[layer, kind, item]),
            "of_layer_pct": 100 * float(table[layer, kind, item]) / float(sizes[layer, kind]),
            "of_class_pct": (
                100 * float(table[layer, kind, item]) / float(whole[item]) if whole[item] else None
            ),
        }
        for layer in range(units.anatomy.layers)
        for kind, name in enumerate(KIND_NAMES)
        for item in UnitClass
    ]
    return pd.DataFrame(rows).astype({"of_class_pct": "float64"})
