"""Overlaps of a class between models as rows."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssah_exp.units.overlap import Overlap


def overlap_rows(found: Sequence[Overlap]) -> pd.DataFrame:
    """One row per pair of models."""
    return pd.DataFrame(
        {
            "first": [item.first for item in found],
            "second": [item.second for item in found],
            "first_units": [item.units[0] for item in found],
            "second_units": [item.units[1] for item in found],
            "shared": [item.shared for item in found],
            "jaccard": [item.jaccard for item in found],
            "chance_mean": [item.chance.mean for item in found],
            "chance_low": [item.chance.low for item in found],
            "chance_high": [item.chance.high for item in found],
            "p_at_chance": [item.at_chance for item in found],
        }
    )
