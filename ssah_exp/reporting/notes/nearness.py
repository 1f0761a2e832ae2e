"""How well controls are matched in shift or norm: no other units may move as far or be as large."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.arm_groups import Group, groups_of
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.text import span

# Kind of control, the field of an arm that has the mean of what it is matched in, what that says.
_MATCHED_IN = (
    ("shifted", "shift", "How far the means of a set's units move between the calibration sets"),
    ("normed", "norm", "How large the weights behind a set's units are"),
)


def nearness_notes(block: Block) -> list[str]:
    """Units and mean of every set, over seeds and draws, for each such kind of control there is."""
    groups = [group for group in groups_of(block.records) if not group.dense]
    kinds = {group.control for group in groups}
    return [
        f"{what}, in standard deviations over the heads or neurons of their block: "
        f"{'; '.join(_said(groups, measure))}."
        for kind, measure, what in _MATCHED_IN
        if kind in kinds
    ]


def _said(groups: Sequence[Group], measure: str) -> list[str]:
    """Each set by name, where a record has the measure at all."""
    return [f"{group.label} {text}" for group in groups if (text := _span(group.arms, measure))]


def _span(arms: Sequence[ArmRecord], measure: str) -> str:
    """The smallest and the largest mean, and numbers of units; empty if no record has any."""
    known = [(mean, arm.units) for arm in arms if (mean := getattr(arm, measure)) is not None]
    if not known:
        return ""
    means, units = zip(*known, strict=True)
    return f"{span(means, '.2f')} ({span(units, 'd')} units)"
