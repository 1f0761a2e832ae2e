"""Training: what it cost in safety at which loss, and how the loss fell."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.evaluation.metric_names import TRAIN_LOSS
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.report.charts.parts import (
    COLOURS,
    RIGHT,
    WIDTH,
    Chart,
    grid_across,
    grid_up,
    mark,
    picture,
    shape_of,
)
from ssah_exp.reporting.report.payload import losses_of, thinned
from ssah_exp.reporting.report.svg import Scale, element, joined, spanning
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.settings import level_of
from ssah_exp.reporting.text import estimate_text, heading_or_name

_HEIGHT = 290
_ACROSS, _UP = (40, WIDTH - RIGHT), (_HEIGHT - 40, 10)  # pixels of either scale


def scatter(block: Block, metric: str) -> Chart | None:
    """Training loss across, a rate up, every arm of every seed; None: nothing was trained."""
    points = [
        (arm, *point)
        for record in block.records
        for arm in record.arms
        if arm.arm is not None and (point := _point(arm, metric)) is not None
    ]
    if not points:
        return None
    quantity = heading_or_name(metric)
    names = list(dict.fromkeys(str(arm.arm) for arm, *_ in points))
    across = spanning([loss for _, loss, _ in points], *_ACROSS)
    up = Scale(0, 100, *_UP)
    parts: list[Markup] = []
    for arm, loss, rate in sorted(points, key=lambda item: item[0].control is None):
        colour = f"c{names.index(str(arm.arm)) % COLOURS}"
        shape = shape_of(arm.control) if arm.control else "dot"
        item = arm.metrics[metric]
        bar = _whisker_up(across(loss), up, item.low, item.high)
        told = f"{arm.name}: loss {loss:.3f}, {quantity} {estimate_text(item, metric)}"
        inside = joined([element("title", told), bar, mark(shape, across(loss), up(100 * rate))])
        parts.append(
            element("g", inside, class_=colour if arm.control is None else f"{colour} null")
        )
    title = f"{quantity} against training loss"
    legend = [(f"c{at % COLOURS}", "dot", name) for at, name in enumerate(names)]
    kinds = {arm.control for arm, *_ in points}
    level = level_of(block.records[0])
    legend += [("plain", shape_of(kind), f"{kind} control") for kind in CONTROLS if kind in kinds]
    caption = (
        f"{quantity} against training loss, a mark a seed, {level} interval over prompts: only "
        "arms at equal loss compare."
    )
    below = "training loss, nats per response token"
    return Chart(title, caption, _framed(title, across, up, parts, below), legend)


def curves(records: Sequence[RunRecord]) -> Chart | None:
    """Training loss by step, a line per arm and seed, without controls; None: no record has any."""
    lines = [
        (str(arm.arm or arm.name), arm.name, record.seed, thinned(losses_of(arm.training)))
        for record in records
        for arm in record.arms
        if arm.control is None and len(losses_of(arm.training)) > 1
    ]
    if not lines:
        return None
    names = list(dict.fromkeys(label for label, *_ in lines))
    across = Scale(1, max(line[-1][0] for *_, line in lines), *_ACROSS)
    up = spanning([loss for *_, line in lines for _, loss in line], *_UP)
    parts: list[Markup] = []
    for label, name, seed, line in lines:
        path = "M" + "L".join(
            f"{across(step)} {up(loss)}" for step, loss in line if math.isfinite(loss)
        )
        colour = f"c{names.index(label) % COLOURS}"
        told = element("title", f"{name}, seed {seed}: {line[0][1]:.3f} to {line[-1][1]:.3f}")
        parts.append(element("path", told, d=path, class_=f"curve {colour}"))
    title = "Training loss of every arm"
    legend = [(f"c{at % COLOURS}", "line", name) for at, name in enumerate(names)]
    caption = "Training loss by step, one line per seed."
    return Chart(title, caption, _framed(title, across, up, parts, "step"), legend)


def _framed(title: str, across: Scale, up: Scale, marks: Sequence[Markup], below: str) -> Markup:
    """Marks over their grid, with the name of the horizontal axis."""
    grid = [grid_across(across, up.start), grid_up(up, across)]
    name = element("text", below, x=across.end, y=_HEIGHT - 4, class_="axis end")
    return picture(title, _HEIGHT, [*grid, *marks, name])


def _point(arm: ArmRecord, metric: str) -> tuple[float, float] | None:
    loss, rate = arm.measured(TRAIN_LOSS).value, arm.measured(metric).value
    if loss is None or rate is None or not math.isfinite(loss):
        return None
    return loss, rate


def _whisker_up(x: float, up: Scale, low: float | None, high: float | None) -> Markup:
    if low is None or high is None:
        return Markup("")
    return element("path", d=f"M{x} {up(100 * low)}V{up(100 * high)}", class_="whisker thin")
