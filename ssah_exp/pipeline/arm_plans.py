"""What an arm may change of a model, planned before any of it is trained."""

from __future__ import annotations

from dataclasses import asdict

from torch import nn

from ssah_exp.config.build import build
from ssah_exp.errors import UnitError
from ssah_exp.interventions.plan import Others, TrainingPlan, plan_training
from ssah_exp.pipeline.training_arms import TrainingArm
from ssah_exp.training.adapters.adapter import Adapter


def plan_arm(model: nn.Module, arm: TrainingArm) -> tuple[TrainingPlan, Adapter | None]:
    """What of the model an arm changes in the end, and the adapter it is trained through.

    Raises:
        UnitError: Its units and options do not make a plan.
        ModelError: An adapter does not go with the model or the plan.
    """
    others = Others(**asdict(arm.config.others))
    plan = plan_training(model, arm.config.policy, arm.mask, others)
    node = arm.config.adapter
    if node is None:
        return plan, None
    adapter: Adapter = build(node, f"training.arms.{arm.label}.adapter")
    return adapter.plan(model, plan), adapter


def phase_of(arm: TrainingArm) -> str | None:
    """Name of the arm whose policy it is trained under first: a control's is a control."""
    first = arm.config.first
    return None if first is None else first + arm.name.removeprefix(arm.label)


def check_phases(arm: TrainingArm, phase: str, first: TrainingPlan, then: TrainingPlan) -> None:
    """Hold an arm's first phase against what the second keeps.

    Args:
        arm: What is trained.
        phase: Name of the arm whose policy comes first.
        first: Plan of that phase.
        then: Plan of the arm itself.

    Raises:
        UnitError: The first phase would train what the second keeps frozen.
    """
    if strays := first.changes_kept_by(then):
        raise UnitError(
            f"training.arms.{arm.label}.first={arm.config.first}: {phase} would train what "
            f"{arm.name} keeps frozen, in {len(strays)} tensors ({strays[0]}). A first phase must "
            "leave alone all that the second does."
        )
