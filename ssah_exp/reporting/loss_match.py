"""How near the arms that were to end at another arm's training loss came to it."""

from __future__ import annotations

from collections import defaultdict

from ssah_exp.evaluation.metrics import TRAIN_LOSS
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.rows import Block

# A last look and the loss in the record are the same sum in another order.
_ROUNDING = 1e-6


def match_note(block: Block) -> str | None:
    """Training loss less the one to be reached, per arm; None = no arm was to reach one.

    Arms end at the first look at which they are at most there, so they may lie below it by what
    they learned since the look before, or above it where their epochs were over.
    """
    gaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in block.records:
        for label, target, gap in _gaps(record):
            gaps[target, label].append(gap)
    if not gaps:
        return None
    targets = " or ".join(sorted({target for target, _ in gaps}))
    every = block.records[0].config["training"]["check_every"]
    return (
        f"Trained until the training loss of {targets} was reached, at looks at most {every} steps "
        "apart; training loss less that one, mean [least, most]: "
        + "; ".join(f"{label} {_text(values)}" for (_, label), values in gaps.items())
        + "."
    )


def _gaps(record: RunRecord) -> list[tuple[str, str, float]]:
    """Row, arm to be matched, and difference of losses, of one run."""
    trained = [arm for arm in record.arms if arm.training is not None]
    losses = {
        arm.name: arm.metrics[TRAIN_LOSS].value for arm in trained if TRAIN_LOSS in arm.metrics
    }
    found: list[tuple[str, str, float]] = []
    for arm in trained:
        target = record.config["training"]["arms"].get(arm.arm, {}).get("match_loss")
        own, wanted = losses.get(arm.name), losses.get(target or "")
        if target is not None and own is not None and wanted is not None:
            label = arm.arm if arm.control is None else f"{arm.control} like {arm.arm}"
            found.append((str(label), target, own - wanted))
    return found


def _text(gaps: list[float]) -> str:
    missed = sum(gap > _ROUNDING for gap in gaps)
    text = f"{sum(gaps) / len(gaps):+.3f}"
    if len(gaps) > 1:
        text += f" [{min(gaps):+.3f}, {max(gaps):+.3f}]"
    if missed:
        text += " (not reached)" if missed == len(gaps) else f" (not reached in {missed})"
    return text
