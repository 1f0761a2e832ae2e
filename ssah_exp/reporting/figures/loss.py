"""ASR against training loss: every arm of a training table as a point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.metric_names import TRAIN_LOSS
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.arm_groups import label_of
from ssah_exp.reporting.drawn_asr import PRIMARY, DrawnAsr
from ssah_exp.reporting.figures.drawing import (
    CONTROL_MARKERS,
    PAGE,
    distinct_colours,
    named_once,
    new_figure,
    save_figure,
    styled,
)
from ssah_exp.reporting.figures.legends import legend_beside
from ssah_exp.reporting.figures.names import seeds_in_title
from ssah_exp.reporting.settings import level_of
from ssah_exp.reporting.text import span

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled()
def asr_against_loss(records: Sequence[RunRecord], path: Path, asr: DrawnAsr = PRIMARY) -> Path:
    """Draw every arm of every seed: training loss across, ASR up, with its Wilson interval.

    Arms that learned as much stand one above the other; only those may be compared by ASR. Models
    before training are lines, mean over seeds: their losses lie far away and would leave the arms
    no room.

    Args:
        records: Of one setting of a training table, one per seed.
        path: Where to write; the suffix decides the format.
        asr: Which ASR.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        StoreError: No arm has both numbers.
        ConfigError: No record measured that ASR, or a suffix that cannot be written.
    """
    evaluation, points = records[0].config["evaluation"], loss_points(records, asr)
    figure = new_figure(PAGE * 0.75, 3.2)
    figure.suptitle(_title(records))
    axes = figure.subplots()
    _draw(axes, points)
    axes.set_xlabel("training loss, nats per response token")
    axes.set_ylabel(asr.label(evaluation))
    axes.set_ylim(-3, 103)
    legend_beside(axes)
    return save_figure(figure, path, points)


def loss_points(records: Sequence[RunRecord], asr: DrawnAsr = PRIMARY) -> pd.DataFrame:
    """One row per arm that has both numbers; ASR in percent.

    Args:
        records: Of one setting of a training table, one per seed.
        asr: Which ASR.

    Raises:
        StoreError: No arm has both numbers.
        ConfigError: No record measured that ASR.
    """
    arms = [arm for record in records for arm in record.arms if TRAIN_LOSS in arm.metrics]
    if not any(arm.arm is not None for arm in arms):
        raise StoreError("No arm of these records has a training loss: they trained nothing.")
    asr.check(records)
    metric = asr.name(records[0].config["evaluation"])
    points = _points(records, metric)
    if points.empty or not points["trained"].any():
        raise StoreError(f"No arm of these records has both a training loss and {metric}.")
    return points


def _title(records: Sequence[RunRecord]) -> str:
    config, level = records[0].config, level_of(records[0])
    return (
        f"{config['model']['name']}\n{config['data']['name']}, {records[0].artefact}, "
        f"{seeds_in_title(len(records))}; a mark a seed, lines: {level} interval over prompts"
    )


def _points(records: Sequence[RunRecord], metric: str) -> pd.DataFrame:
    rows = []
    for record in records:
        for arm in record.arms:
            loss = arm.measured(TRAIN_LOSS).value
            rate = arm.measured(metric).mapped(lambda share: 100 * share)
            if None in (loss, rate.value, rate.low, rate.high):
                continue
            rows.append(
                {
                    "seed": record.seed,
                    "arm": arm.label,
                    "control": arm.control or "",
                    "trained": arm.arm is not None,
                    "label": label_of(arm),
                    "train_loss": loss,
                    "asr_pct": rate.value,
                    "low": rate.low,
                    "high": rate.high,
                    "n": rate.n,
                }
            )
    return pd.DataFrame(rows)


def _draw(axes: Axes, points: pd.DataFrame) -> None:
    colours = distinct_colours(list(points["arm"].unique()))
    for name, start in points[~points["trained"]].groupby("arm", sort=False):
        colour, rate = colours[str(name)], start["asr_pct"].mean()
        label = f"{name}, loss {span(start['train_loss'], '.2f')}"
        axes.axhline(rate, linestyle="--", linewidth=1, color=colour, label=label)
    for point in points[points["trained"]].to_dict("records"):
        rate = point["asr_pct"]
        axes.errorbar(
            point["train_loss"],
            rate,
            yerr=[[rate - point["low"]], [point["high"] - rate]],
            fmt=CONTROL_MARKERS[point["control"]],
            color=colours[point["arm"]],
            elinewidth=0.6,
            label=point["label"],
        )
    named_once(axes)
