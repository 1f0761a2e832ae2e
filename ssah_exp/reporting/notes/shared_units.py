"""How many units a control shares with the set it stands beside: the more, the weaker a null."""

from __future__ import annotations

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.arm_groups import Group, groups_of
from ssah_exp.reporting.notes.held_classes import percent_range
from ssah_exp.reporting.rows import Block


def shared_note(block: Block) -> str | None:
    """For each control, the share of its units that are in its set; None = no control has any."""
    found = {group.label: _shares(group) for group in groups_of(block.records) if group.control}
    sharing = {label: shares for label, shares in found.items() if any(shares)}
    if not sharing:
        return None
    listed = "; ".join(f"{label} {percent_range(shares)} %" for label, shares in sharing.items())
    return f"Units of a control that are in the set it stands beside: {listed}."


def _shares(group: Group) -> list[float]:
    return [share for arm in group.arms if (share := _share(arm)) is not None]


def _share(arm: ArmRecord) -> float | None:
    """A share from 0 to 1, None if not recorded; trained arms have it under ``training``."""
    return arm.overlap if arm.training is None else arm.training.get("overlap")
