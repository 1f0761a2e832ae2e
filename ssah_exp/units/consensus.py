"""A UnitMap of what many calibrations agree on, for selectors to use like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssah_exp.errors import UnitError
from ssah_exp.units.calibration_settings import SettingsAtlas
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.unitmap import UnitMap


def consensus_map(atlas: SettingsAtlas, run: UnitMap, share: float) -> UnitMap:
    """SCU are the units in the SCU of at least ``share`` of all resamples of all settings.

    The other classes are cut from the mean scores by the run's budgets; a unit that these put into
    SCU but the consensus does not becomes CU. So the size of SCU follows from the agreement, not
    from its budget, and is often below it.

    Args:
        atlas: All its settings but the floors count, each with the same weight.
        run: The run's own map, for model, budgets and settings.
        share: Above 0, at most 1.

    Raises:
        UnitError: ``share`` out of range, or no unit is in the consensus.
    """
    if not 0 < share <= 1:
        raise UnitError(f"share={share:g} lies outside (0, 1].")
    agreed = atlas.agreed(share)
    if not agreed.any():
        raise UnitError(
            f"No unit is SCU in at least {share:.0%} of the resamples, averaged over the settings; "
            "lower --share."
        )
    origin = run.provenance
    settings = {**origin.settings, "consensus": {"share": share, "of": list(atlas.inclusion)}}
    cut = UnitMap.from_scores(
        run.anatomy,
        replace(origin, statistic="variance", settings=settings),
        run.budgets,
        *atlas.scores,
    )
    classes = np.where(cut.classes == UnitClass.SCU, UnitClass.CU, cut.classes).astype(np.uint8)
    classes[agreed] = UnitClass.SCU
    return replace(cut, classes=classes)
