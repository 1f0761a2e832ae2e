"""Which arms a training table has: policies on sets of units, and their controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from ssah_exp.config.build import build
from ssah_exp.config.schema import ArmConfig, TrainingConfig
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError
from ssah_exp.training.adapters.adapter import Adapter
from ssah_exp.training.eight_bit import missing_optimizer
from ssah_exp.units.controls import Wording, control_stream, draw_control
from ssah_exp.units.selecting import Selector, select_units
from ssah_exp.units.unitmap import UnitMap


@dataclass(frozen=True)
class TrainingArm:
    """One fine-tuning.

    Attributes:
        name: Unique within a run.
        label: The configured arm; a control carries the name of the arm it stands beside.
        config: Policy, adapter, epochs.
        mask: ``(units,)`` bool, the units that the policy is about; None under ``none``.
        control: One of ``CONTROLS``.
        draw: Number of the control draw.
        overlap: Share of a control's units that are in the set it stands beside; None for arms
            that are no controls.
    """

    name: str
    label: str
    config: ArmConfig
    mask: NDArray[np.bool_] | None = None
    control: str | None = None
    draw: int | None = None
    overlap: float | None = None

    @property
    def mask_digest(self) -> str | None:
        """sha256 over the indices of the selected units; None without a mask."""
        return None if self.mask is None else digest_of(np.flatnonzero(self.mask).tolist())


def check_arms(training: TrainingConfig) -> None:
    """Build selectors, adapters and callbacks once, to refuse wrong ones before hours of training.

    Raises:
        SsahError: An argument is wrong, or a package is missing, the optimizer's included.
    """
    if (missing := missing_optimizer(training.optimizer)) is not None:
        raise ConfigError(missing)
    for name, config in training.arms.items():
        for key, kind in (("select", Selector), ("adapter", Adapter)):
            if (node := getattr(config, key)) is not None:
                build(node, f"training.arms.{name}.{key}", kind)
    callbacks_of(training)


def callbacks_of(training: TrainingConfig) -> dict[str, pl.Callback]:
    """The user's own callbacks, made anew for each arm, since they keep what they see of it.

    Raises:
        ConfigError: A node is no Lightning callback, or its arguments are wrong; or there are two
            whose states a checkpoint could not tell apart.
    """
    made = {
        name: build(node, f"training.callbacks.{name}", pl.Callback)
        for name, node in training.callbacks.items()
    }
    keys: dict[str, str] = {}
    for name, callback in made.items():
        other = keys.setdefault(callback.state_key, name)
        if other != name:
            raise ConfigError(
                f"training.callbacks: {other} and {name} have one state_key, "
                f"'{callback.state_key}': a checkpoint could not tell their states apart. Give the "
                "class a property state_key that its arguments decide."
            )
    return made


def plan_training_arms(units: UnitMap, training: TrainingConfig, seed: int) -> list[TrainingArm]:
    """Every arm of a training table, each followed by its controls.

    Args:
        units: The UnitMap of the model that all arms start from.
        training: Arms by name.
        seed: Decides the control draws.

    Raises:
        UnitError: A selector matches nothing, or no control of the same layer mix exists.
    """
    arms = {name: _arm(name, config, units, seed) for name, config in training.arms.items()}
    drawn: dict[str, TrainingArm] = {}
    # Controls of first phases are drawn first: the others are drawn from what those leave alone.
    for arm in sorted(arms.values(), key=lambda arm: arm.config.first is not None):
        for control in _controls(units, arm, training, seed, drawn):
            drawn[control.name] = control
    return [
        item
        for arm in arms.values()
        for item in (arm, *(control for control in drawn.values() if control.label == arm.name))
    ]


def _arm(name: str, config: ArmConfig, units: UnitMap, seed: int) -> TrainingArm:
    if config.select is None:
        return TrainingArm(name, name, config)
    where = f"training.arms.{name}.select"
    mask = select_units(build(config.select, where, Selector), units, seed, where)
    return TrainingArm(name, name, config, mask)


def _controls(
    units: UnitMap,
    arm: TrainingArm,
    training: TrainingConfig,
    seed: int,
    drawn: Mapping[str, TrainingArm],
) -> Iterator[TrainingArm]:
    name, config = arm.name, arm.config
    if arm.mask is None:
        return
    bound = "what the control's own first phase left alone"
    wording = Wording(of=name, option=f"++training.arms.{name}.overlap", bound=bound)
    for kind in config.controls:
        for draw in range(training.control_draws):
            stream = control_stream(seed, kind, draw)
            before = None if config.first is None else drawn.get(f"{config.first}/{kind}/{draw}")
            control = draw_control(
                units,
                arm.mask,
                kind,
                stream,
                pool=training.match_pool,
                overlap=config.overlap,
                within=_kept_before(before),
                wording=wording,
            )
            yield TrainingArm(
                f"{name}/{kind}/{draw}", name, config, control.mask, kind, draw, control.overlap
            )


def _kept_before(phase: TrainingArm | None) -> NDArray[np.bool_] | None:
    """Units that a control's first phase leaves as they are: the control is drawn from them."""
    if phase is None or phase.mask is None:
        return None
    return phase.mask if phase.config.policy == "freeze" else ~phase.mask
