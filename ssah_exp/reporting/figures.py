"""Pictures from records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssah_exp.cache import storage_errors
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.evaluation.metrics import TRAIN_LOSS, asr_name
from ssah_exp.records.record import ArmRecord, RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by colour-blind readers, too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = {None: "o", "random": "x", "matched": "^"}


def asr_against_loss(records: Sequence[RunRecord], path: Path, style: str | None = None) -> None:
    """Draw every arm of every seed: training loss across, ASR up, with its Wilson interval.

    Arms that learned as much stand one above the other; only there do their ASRs compare.

    Args:
        records: Of one setting of a training table, one per seed.
        path: Where to write; the suffix decides the format.
        style: Prompt style of the harmful requests; None = the mean over styles.

    Raises:
        StoreError: No arm has both numbers.
        ConfigError: No record measured that style, or a suffix that cannot be written.
    """
    from matplotlib.figure import Figure

    evaluation = records[0].config["evaluation"]
    metric = asr_name(style or "mean", evaluation["primary_judge"])
    arms = [arm for record in records for arm in record.arms if TRAIN_LOSS in arm.metrics]
    if not arms:
        raise StoreError("No arm of these records has a training loss: they trained nothing.")
    if metric not in arms[0].metrics:
        allowed = ", ".join(evaluation["harmful_styles"])
        raise ConfigError(f"No ASR for style '{style}' in these records. Allowed: {allowed}.")
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    _draw(axes, arms, metric)
    what = "mean of the prompt styles" if style is None else f"{style} prompts"
    axes.set_xlabel("training loss, nats per response token")
    axes.set_ylabel(f"ASR %, {what}")
    axes.set_ylim(-3, 103)
    axes.grid(alpha=0.3)
    # Beside the axes: the points may be anywhere.
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    if path.suffix.lstrip(".") not in figure.canvas.get_supported_filetypes():
        allowed = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
        raise ConfigError(f"Cannot write '{path.suffix}'. Allowed: {allowed}.")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def _draw(axes: Axes, arms: Sequence[ArmRecord], metric: str) -> None:
    names = list(dict.fromkeys(arm.arm or arm.model for arm in arms))
    seen: set[tuple[str, str | None]] = set()
    for arm in arms:
        name = arm.arm or arm.model
        loss, rate = arm.metrics[TRAIN_LOSS].value, arm.metrics[metric]
        if loss is None or rate.value is None or rate.low is None or rate.high is None:
            continue
        label = name if arm.control is None else f"{arm.control} like {name}"
        axes.errorbar(
            loss,
            100 * rate.value,
            yerr=[[100 * (rate.value - rate.low)], [100 * (rate.high - rate.value)]],
            fmt=_MARKERS[arm.control],
            color=_COLOURS[names.index(name) % len(_COLOURS)],
            elinewidth=0.6,
            markersize=6,
            label="_" if (name, arm.control) in seen else label,
        )
        seen.add((name, arm.control))
