"""Arms of one setting gathered over seeds and draws, and what each stands beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.records.record import ArmRecord, RunRecord


@dataclass(frozen=True)
class Group:
    """One arm of a setting, or all draws of one of its controls.

    Attributes:
        label: For people.
        model: As in :class:`ArmRecord`.
        arm: Configured arm of a training table.
        unit_class: Ablated class or named set.
        fill: What replaced it.
        control: One of ``CONTROLS``; None = no control.
        by_seed: Seed -> its arm, or its draws.
    """

    label: str
    model: str
    arm: str | None
    unit_class: str | None
    fill: str | None
    control: str | None
    by_seed: dict[int, list[ArmRecord]]

    @property
    def arms(self) -> list[ArmRecord]:
        """The arms of all seeds."""
        return [arm for arms in self.by_seed.values() for arm in arms]

    @property
    def dense(self) -> bool:
        """Whether it is a whole model, neither ablated nor trained by an arm."""
        return self.arm is None and self.unit_class is None


def groups_of(records: Sequence[RunRecord]) -> list[Group]:
    """The arms of one setting's records in groups, in the order of the first record's arms."""
    found: dict[tuple[str | None, ...], Group] = {}
    for record in records:
        for arm in record.arms:
            # What an arm has in common over seeds, and a control over draws.
            key = arm.model, arm.arm, arm.unit_class, arm.fill, arm.control
            group = found.setdefault(key, Group(label_of(arm), *key, by_seed={}))
            group.by_seed.setdefault(record.seed, []).append(arm)
    return list(found.values())


def label_of(arm: ArmRecord) -> str:
    """What an arm, or all draws of a control, is called beside others."""
    label = arm.label if arm.fill is None else f"{arm.label}/{arm.fill}"
    return like(label, arm.control)


def like(label: str, control: str | None) -> str:
    """What an arm is called, or a control that stands beside it."""
    return label if control is None else f"{control} like {label}"


def references_of(
    group: Group, groups: Sequence[Group], records: Sequence[RunRecord]
) -> list[Group]:
    """What a group stands beside: its controls, the dense model, plain fine-tuning.

    An aligned model stands beside the unaligned one it was made from.
    """
    config = records[0].config
    dense: str | None = group.model
    if group.dense:
        dense = UNALIGNED if group.model == ALIGNED else None
    elif group.model == "trained":
        dense = config["training"]["start"]
    controls = [
        other
        for other in groups
        if group.control is None
        and other.control is not None
        and not group.dense
        and (other.arm, other.unit_class, other.fill) == (group.arm, group.unit_class, group.fill)
    ]
    plain = [
        other
        for other in groups
        if group.arm is not None
        and group.control is None
        and other is not group
        and _plain(other, config)
    ]
    return controls + plain + [other for other in groups if other.dense and other.model == dense]


def _plain(group: Group, config: dict[str, Any]) -> bool:
    """Whether it is fine-tuning of everything, without an adapter."""
    if group.arm is None or group.control is not None:
        return False
    arm = config["training"]["arms"].get(group.arm, {})  # a copy may say nothing of its arms
    return bool(arm and arm["policy"] == "none" and arm["adapter"] is None)
