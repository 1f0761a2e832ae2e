"""The atlas over ways to calibrate as rows and JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from ssah_exp.models.sizes import Anatomy
from ssah_exp.reporting.stability_rows import consensus_counts, ever_in, measures
from ssah_exp.units.agreement import Spread
from ssah_exp.units.calibration_settings import ComparedSetting, SettingsAtlas
from ssah_exp.units.classes import UnitClass


def setting_rows(atlas: SettingsAtlas) -> pd.DataFrame:
    """One row per setting or size and measure: Jaccard of each class, Spearman of z_S - z_U.

    ``value`` is of all examples against all of the run's; ``mean``, ``low`` and ``high`` are of
    resamples. Sizes have no ``value``: two draws are compared with each other.
    """
    rows = [row for item in atlas.compared for row in _setting(item)]
    for curve in atlas.sizes:
        counts = {"safety_examples": curve.size, "utility_examples": curve.size}
        for measure, spread in measures(curve.jaccard, curve.spearman):
            rows.append(
                {
                    "setting": curve.name,
                    "differs": "size",
                    "floor": False,
                    **counts,
                    "measure": measure,
                    "value": None,
                    **asdict(spread),
                }
            )
    numbers = dict.fromkeys(("value", "mean", "low", "high"), "float64")
    return pd.DataFrame(rows).astype(numbers)


def _setting(item: ComparedSetting) -> list[dict[str, Any]]:
    drawn = item.drawn
    values = measures(item.jaccard, item.spearman)
    spreads = {} if drawn is None else dict(measures(drawn.jaccard, drawn.spearman))
    return [
        {
            "setting": item.name,
            "differs": item.differs,
            "floor": item.floor,
            "safety_examples": item.examples["safety"],
            "utility_examples": item.examples["utility"],
            "measure": measure,
            "value": value,
            **asdict(spreads.get(measure, Spread(None, None, None))),
        }
        for measure, value in values
    ]


def inclusion_table(atlas: SettingsAtlas, anatomy: Anatomy) -> pd.DataFrame:
    """One row per unit that is ever in SCU, most frequent first: how often, by setting."""
    own, frequency = atlas.reference == UnitClass.SCU, atlas.frequency()
    return ever_in(own, frequency, anatomy, {"in_run": own, "all": frequency, **atlas.inclusion})


def settings_consensus(atlas: SettingsAtlas, anatomy: Anatomy, share: float) -> dict[str, Any]:
    """What the settings agree on: counts, and overlap with the run's own SCU."""
    own = atlas.reference == UnitClass.SCU
    counts = consensus_counts(own, atlas.agreed(share), atlas.frequency(), anatomy, "run")
    return {"share": share, "settings": list(atlas.inclusion), **counts}
