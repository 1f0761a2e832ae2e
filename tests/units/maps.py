"""UnitMaps of random scores."""

from __future__ import annotations

import numpy as np

from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.models.sizes import Anatomy
from ssah_exp.units.unitmap import ScoreProvenance, UnitMap
from tests import tiny

PROVENANCE = ScoreProvenance(
    "tiny/model", "abc", "f" * 64, "variance", {"safety": "1", "utility": "2"}, {"tokens": "all"}
)
ANATOMY = tiny.small_anatomy(layers=4, heads=6, neurons=80, head_parameters=7.5)


def random_map(
    anatomy: Anatomy = ANATOMY, budgets: BudgetsConfig | None = None, seed: int = 0
) -> UnitMap:
    """Skewed and correlated scores, as real ones are; shifts and norms that follow neither."""
    draw = np.random.default_rng(seed)
    utility = draw.lognormal(size=anatomy.units)
    safety = 0.7 * utility + draw.lognormal(size=anatomy.units)
    budgets = budgets or BudgetsConfig(scu=0.1, ucu=0.1, ru=0.2)
    shift, norm = draw.lognormal(size=(2, anatomy.units))
    return UnitMap.from_scores(
        anatomy, PROVENANCE, budgets, safety, utility, shift=shift, norm=norm
    )
