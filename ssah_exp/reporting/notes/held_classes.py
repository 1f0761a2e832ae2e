"""What controls and named sets hold of each class: a null that holds the SCU is none."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.arm_groups import Group, groups_of
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.text import span
from ssah_exp.units.classes import UnitClass

TITLE = "Of the units of each class, percent that are in the set:"


def held_frame(block: Block) -> pd.DataFrame | None:
    """One line per set that is no class of its own, controls among them, a column per class.

    Percent, the smallest and the largest over seeds and draws. None where no record says it, as
    those of earlier versions do not.
    """
    lines = [
        {"set": group.label, **_cells(group.arms)}
        for group in groups_of(block.records)
        if _is_mixed(group)
    ]
    if not lines:
        return None
    shown = [item.name for item in UnitClass if any(item.name in line for line in lines)]
    return pd.DataFrame(lines).reindex(columns=["set", *shown]).fillna("-")


def _is_mixed(group: Group) -> bool:
    """Whether a set was recorded; a class that was ablated holds all of itself and nothing else."""
    itself = group.control is None and group.unit_class in UnitClass.__members__
    return not itself and any(arm.class_shares for arm in group.arms)


def _cells(arms: Sequence[ArmRecord]) -> dict[str, str]:
    names = dict.fromkeys(name for arm in arms for name in arm.class_shares)
    return {
        name: percent_range([arm.class_shares[name] for arm in arms if name in arm.class_shares])
        for name in names
    }


def percent_range(shares: Sequence[float]) -> str:
    """Shares from 0 to 1 in percent: the smallest and the largest, or one number if they agree."""
    return span([100 * share for share in shares], ".3g")
