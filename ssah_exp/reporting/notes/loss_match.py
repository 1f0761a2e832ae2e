"""How near the arms that were to end at another arm's training loss came to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssah_exp.evaluation.metric_names import TRAIN_LOSS
from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting.arm_groups import groups_of
from ssah_exp.reporting.rows import Block

BySeed = Mapping[int, Sequence[ArmRecord]]


# An arm's last look and the loss in its record are the same sum, added in another order.
_ROUNDING = 1e-6


def match_note(block: Block) -> str | None:
    """Training loss of each arm that had a target, less that target; None = no arm had one.

    An arm ends at the first look that finds its loss at the target or below: it may lie below by
    what it learned since the look before, or above if its epochs were over first.
    """
    training = block.records[0].config.get("training")
    if training is None:  # what only prunes trains no arms
        return None
    arms = training["arms"]
    groups = groups_of(block.records)
    targets = {group.label: group.by_seed for group in groups}
    gaps: dict[tuple[str, str], list[float]] = {}
    for group in groups:
        target = arms.get(group.arm, {}).get("match_loss")
        if found := _gaps(group.by_seed, targets.get(target, {})):
            gaps[target, group.label] = found
    if not gaps:
        return None
    wanted = " or ".join(sorted({target for target, _ in gaps}))
    every = training["check_every"]
    return (
        f"Trained until the training loss of {wanted} was reached, at looks at most {every} steps "
        "apart; training loss less that one, mean [least, most]: "
        + "; ".join(f"{label} {_text(values)}" for (_, label), values in gaps.items())
        + "."
    )


def _gaps(arms: BySeed, targets: BySeed) -> list[float]:
    """Every arm's loss less that of the target arm of its seed, where both are known."""
    losses = [
        (arm.measured(TRAIN_LOSS).value, target.measured(TRAIN_LOSS).value)
        for seed in arms
        for arm in arms[seed]
        for target in targets.get(seed, ())
    ]
    return [own - wanted for own, wanted in losses if own is not None and wanted is not None]


def _text(gaps: list[float]) -> str:
    missed = sum(gap > _ROUNDING for gap in gaps)
    text = f"{sum(gaps) / len(gaps):+.3f}"
    if len(gaps) > 1:
        text += f" [{min(gaps):+.3f}, {max(gaps):+.3f}]"
    if missed:
        text += " (not reached)" if missed == len(gaps) else f" (not reached in {missed})"
    return text
