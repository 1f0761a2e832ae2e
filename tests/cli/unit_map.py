"""A small UnitMap with units of every class."""

from __future__ import annotations

import numpy as np

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.units.unitmap import ScoreProvenance, UnitMap
from tests.tiny import small_anatomy


def unit_map() -> UnitMap:
    """Three layers of two heads and eight neurons."""
    anatomy = small_anatomy(layers=3, heads=2, neurons=8)
    draw = np.random.default_rng(0)
    origin = ScoreProvenance("tiny", "r", "f", "variance", {}, {})
    budgets = BudgetsConfig(scu=0.2, ucu=0.2, ru=0.2)
    scores = [draw.random(anatomy.units) for _ in range(2)]
    return UnitMap.from_scores(anatomy, origin, budgets, *scores)
