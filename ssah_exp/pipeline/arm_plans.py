"""What an arm may change of a model, planned before any of it is trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ssah_exp.config.build import build
from ssah_exp.config.facts import ATTACHED, class_of
from ssah_exp.errors import ModelError, UnitError
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.attached.folder import has_adapter
from ssah_exp.models.sidecar import sidecar_folder
from ssah_exp.models.skeleton import load_skeleton
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages
from ssah_exp.pipeline.training_arms import TrainingArm
from ssah_exp.training.adapters.adapter import Adapter


def check_plans(stages: Stages, start: ModelRef, arms: Sequence[TrainingArm]) -> None:
    """Plan every arm without loading weights, to refuse impossible ones before hours of work.

    Args:
        stages: What all stages share.
        start: The model every arm starts from.
        arms: What is to be trained.

    Raises:
        UnitError: An arm's units and options do not make a plan, or its first phase would
            train what it keeps frozen.
        ModelError: An adapter does not fit the model or the plan, or would stay beside the
            weights of a start that carries one already.
    """
    if has_adapter(sidecar_folder(start.location, start.commit)):
        _refuse_second_adapters(arms)
    # An adapter beside the weights adds no module and no name, so the skeleton needs none.
    skeleton = load_skeleton(start.location, stages.config.model, start.commit)
    plans = {arm.name: plan_arm(skeleton, arm)[0] for arm in arms}
    for arm in arms:
        if (phase := phase_of(arm)) is not None:
            _check_phases(arm, phase, plans[phase], plans[arm.name])


def plan_arm(model: nn.Module, arm: TrainingArm) -> tuple[TrainingPlan, Adapter | None]:
    """What an arm may change of the model, and the adapter it is trained through, if any.

    Raises:
        ConfigError: The adapter's arguments are wrong.
        UnitError: Its units and options do not make a plan.
        ModelError: An adapter does not fit the model or the plan.
    """
    key, node = f"training.arms.{arm.label}", arm.config.adapter
    adapter = None if node is None else build(node, f"{key}.adapter", Adapter)
    try:
        plan = plan_training(model, arm.config.policy, arm.mask, arm.config.others)
        return plan if adapter is None else adapter.plan(model, plan), adapter
    except (UnitError, ModelError) as error:
        raise type(error)(f"{key}: {error}") from error


def phase_of(arm: TrainingArm) -> str | None:
    """Name of the arm whose policy comes first, if any; for a control, of that arm's control."""
    first = arm.config.first
    return None if first is None else first + arm.name.removeprefix(arm.label)


def _refuse_second_adapters(arms: Sequence[TrainingArm]) -> None:
    """Refuse arms whose adapter would stay beside the weights, next to the start's own.

    Raises:
        ModelError: There is one.
    """
    for arm in arms:
        if (kind := class_of(arm.config.adapter)) in ATTACHED:
            raise ModelError(
                f"training.arms.{arm.label}.adapter: {kind} stays beside the weights, and the "
                "model that all arms start from carries an adapter there already; it can carry "
                "one at a time."
            )


def _check_phases(arm: TrainingArm, phase: str, first: TrainingPlan, then: TrainingPlan) -> None:
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
