"""How well controls that are matched in shift are matched: no other units may move as far."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.arm_groups import groups_of
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.text import span


def shift_note(block: Block) -> str | None:
    """Units and mean shift of every set, over seeds and draws; None without such controls."""
    groups = [group for group in groups_of(block.records) if not group.dense]
    if not any(group.control == "shifted" for group in groups):
        return None
    said = [f"{group.label} {text}" for group in groups if (text := _shift(group.arms))]
    return (
        "How far the means of a set's units move between the calibration sets, in standard "
        f"deviations over the heads or neurons of their block: {'; '.join(said)}."
    )


def _shift(arms: Sequence[ArmRecord]) -> str:
    """The smallest and the largest mean, and numbers of units; empty if no record has any."""
    known = [(arm.shift, arm.units) for arm in arms if arm.shift is not None]
    if not known:
        return ""
    shifts, units = zip(*known, strict=True)
    return f"{span(shifts, '.2f')} ({span(units, 'd')} units)"
