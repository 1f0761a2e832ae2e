"""How near the arms that were to end at another arm's training loss came to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ssah_exp.evaluation.metric_names import TRAIN_LOSS
from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.arm_groups import groups_of
from ssah_exp.reporting.rows import Block

BySeed = Mapping[int, Sequence[ArmRecord]]


# A plain arm's last look and the loss in its record are the same sum, added in another order.
_ROUNDING = 1e-6


class _End(NamedTuple):
    """How an arm ended: its loss less its target in nats per token, and whether it got there."""

    gap: float
    reached: bool


def match_note(block: Block) -> str | None:
    """Training loss of each arm that had a target, less that target; None = no arm had one.

    An arm ends at the first look that finds its loss at the target or below: it may lie below by
    what it learned since the look before, or above if its epochs were over first. One with an
    adapter may lie above although it got there: looks see it as it is trained, the record has the
    loss after it was merged, in bfloat16 up to 0.01 apart; where its very last look found it there,
    the record says so.
    """
    training = block.records[0].config.get("training")
    if training is None:  # what only prunes trains no arms
        return None
    arms = training["arms"]
    groups = groups_of(block.records)
    targets = {group.label: group.by_seed for group in groups}
    ends: dict[tuple[str, str], list[_End]] = {}
    for group in groups:
        target = arms.get(group.arm, {}).get("match_loss")
        epochs = _epochs(training, group.arm)
        if found := _ends(group.by_seed, targets.get(target, {}), epochs):
            ends[target, group.label] = found
    if not ends:
        return None
    wanted = " or ".join(sorted({target for target, _ in ends}))
    every = training["check_every"]
    return (
        f"Trained until the training loss of {wanted} was reached, at looks at most {every} steps "
        "apart; training loss less that one, mean [least, most]: "
        + "; ".join(f"{label} {_text(found)}" for (_, label), found in ends.items())
        + "."
    )


def _epochs(training: Mapping[str, Any], arm: str | None) -> float | None:
    """Epochs an arm may take; None where a callback of the user's own could end it sooner."""
    if training.get("callbacks"):
        return None
    own: float | None = training["arms"].get(arm, {}).get("epochs")
    return own or training["epochs"]


def _ends(arms: BySeed, targets: BySeed, epochs: float | None) -> list[_End]:
    """How every arm ended, beside the target arm of its seed, where both losses are known."""
    ends = []
    for seed in arms:
        for arm in arms[seed]:
            for target in targets.get(seed, ()):
                own, wanted = (item.measured(TRAIN_LOSS).value for item in (arm, target))
                if own is not None and wanted is not None:
                    gap = own - wanted
                    ends.append(_End(gap, gap <= _ROUNDING or _got_there(arm, epochs)))
    return ends


def _got_there(arm: ArmRecord, epochs: float | None) -> bool:
    """Whether a look found the loss, as the record says or the epochs that the arm took.

    Nothing but a look ends a training before its epochs are over. Records of earlier versions do
    not say what the last look found.
    """
    training = arm.training or {}
    if training.get("reached"):
        return True
    taken = training.get("epochs")
    return taken is not None and epochs is not None and bool(taken < epochs)


def _text(ends: list[_End]) -> str:
    gaps = [end.gap for end in ends]
    missed = sum(not end.reached for end in ends)
    text = f"{sum(gaps) / len(gaps):+.3f}"
    if len(gaps) > 1:
        text += f" [{min(gaps):+.3f}, {max(gaps):+.3f}]"
    if missed:
        text += " (not reached)" if missed == len(gaps) else f" (not reached in {missed})"
    return text
