"""Which arms a pruning table has: dense models, sets of units under every fill, their controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.build import build
from ssah_exp.config.schema import AblationConfig
from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.interventions.ablate import Ablation, fill_values, plan_ablation
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.controls import Wording, control_stream, draw_control
from ssah_exp.units.identify import Identification
from ssah_exp.units.selecting import Selector, select_units
from ssah_exp.units.unitmap import UnitMap


@dataclass(frozen=True)
class Arm:
    """A model and what is ablated in it.

    Attributes:
        name: Unique within a run.
        model: ``unaligned`` or ``aligned``.
        mask: ``(units,)`` bool, or None for a dense model.
        unit_class: Ablated class or named set, or the one a control stands beside.
        fill: What replaces the activations.
        control: One of ``CONTROLS``.
        draw: Number of the control draw.
        overlap: Share of a control's units that are in the set it stands beside; None where
            controls may not share units, and for arms that are no controls.
    """

    name: str
    model: str
    mask: NDArray[np.bool_] | None = None
    unit_class: str | None = None
    fill: str | None = None
    control: str | None = None
    draw: int | None = None
    overlap: float | None = None


def plan_arms(
    units: UnitMap, ablation: AblationConfig, seed: int, *, with_unaligned: bool
) -> list[Arm]:
    """Every arm of a pruning table; an empty class is left out, an empty set is refused.

    Args:
        units: The aligned model's UnitMap.
        ablation: Classes, sets, fills and controls.
        seed: Decides the control draws.
        with_unaligned: Whether the run has an unaligned model, which then is an arm, too.

    Raises:
        UnitError: A selector matches nothing, or a layer has too few units to draw a control from.
    """
    arms = [Arm(UNALIGNED, UNALIGNED)] if with_unaligned else []
    arms.append(Arm(ALIGNED, ALIGNED))
    masks = {name: units.select(UnitClass[name]) for name in ablation.classes}
    for name, selector in selectors_of(ablation).items():
        masks[name] = select_units(selector, units, seed, f"ablation.sets.{name}")
    for name, mask in masks.items():
        if mask.any():
            fills = ablation.fills if name in ablation.fills_of else [ablation.primary_fill]
            arms += [Arm(f"{name}/{fill}", ALIGNED, mask, name, fill) for fill in fills]
    for name in ablation.controls.of:
        if masks[name].any():
            arms += _controls(units, masks[name], name, ablation, seed)
    return arms


def classes_without_arms(arms: Sequence[Arm], ablation: AblationConfig) -> list[str]:
    """Classes that were asked for and have no unit, so that nothing is pruned in their name."""
    pruned = {arm.unit_class for arm in arms}
    return [name for name in ablation.classes if name not in pruned]


def selectors_of(ablation: AblationConfig) -> dict[str, Selector]:
    """Set -> what selects it.

    Raises:
        ConfigError: A node is no selector, or its arguments are wrong.
        UnitError: An argument is out of range.
    """
    return {
        name: build(node, f"ablation.sets.{name}", Selector) for name, node in ablation.sets.items()
    }


def ablation_of(arm: Arm, statistics: Identification) -> Ablation | None:
    """What is ablated in an arm, filled from its model's statistics; None in a dense model."""
    if arm.mask is None or arm.fill is None:
        return None
    fills = fill_values(arm.fill, statistics.safety, statistics.utility)
    return plan_ablation(arm.mask, statistics.anatomy, fills)


def _controls(
    units: UnitMap, mask: NDArray[np.bool_], name: str, ablation: AblationConfig, seed: int
) -> Iterator[Arm]:
    fill, controls = ablation.primary_fill, ablation.controls
    bound = f"what is no {' or '.join(controls.exclude)}"
    wording = Wording(of=name, option="ablation.controls.overlap", bound=bound)
    within = None
    if controls.exclude:
        within = ~units.select_any(controls.exclude)
    for kind in controls.kinds:
        for draw in range(controls.draws):
            control = draw_control(
                units,
                mask,
                kind,
                control_stream(seed, kind, draw),
                pool=controls.match_pool,
                overlap=controls.overlap,
                within=within,
                wording=wording,
            )
            label = f"{name}/{fill}/{kind}/{draw}"
            shared = control.overlap if controls.overlap else None
            yield Arm(label, ALIGNED, control.mask, name, fill, kind, draw, shared)
