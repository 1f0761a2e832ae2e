"""One metric of every arm, with what happens by chance behind it."""

from __future__ import annotations

from markupsafe import Markup

from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.reporting.figures.drawing import BEYOND
from ssah_exp.reporting.report.charts.parts import (
    LEFT,
    RIGHT,
    WIDTH,
    Chart,
    grid_across,
    mark,
    picture,
    shape_of,
)
from ssah_exp.reporting.report.svg import Scale, element, joined, spanning
from ssah_exp.reporting.rows import Block, Row
from ssah_exp.reporting.settings import level_of
from ssah_exp.reporting.text import cell_text, estimate_text, heading_or_name, scale_of

_ROW = 34
_SEED = "seed"  # among the kinds of draws: an arm's own value in one seed


def forest(block: Block, metric: str, log: bool = False) -> Chart | None:
    """One line per arm: value and interval, seeds below, control draws behind; None: no values.

    Args:
        block: One setting.
        metric: What lies on the horizontal axis.
        log: Equal ratios take equal room.
    """
    rows = [row for row in block.rows if row.control is None and _value(row, metric) is not None]
    if not rows:
        return None
    by, height = scale_of(metric), 26 + _ROW * len(rows)
    draws = [_draws(block, row, metric) for row in rows]
    values = [
        by * value
        for row in rows
        for value in (row.cells[metric].low, row.cells[metric].high, row.cells[metric].value)
        if value is not None
    ]
    values += [by * value for marks in draws for _, value, _ in marks]
    place = (LEFT, WIDTH - RIGHT)
    across = spanning(values, *place, log=True) if log else Scale(0, 100, *place)
    parts = [grid_across(across, height - 26)]
    for number, (row, marks) in enumerate(zip(rows, draws, strict=True)):
        middle = 6 + _ROW * number + _ROW / 2 - 3
        parts.append(_forest_row(row, metric, across, middle, marks))
    title = f"{heading_or_name(metric)} of every arm"
    level = level_of(block.records[0])
    measured = "mean over seeds" if _many(block) else "measured"
    legend = [("c0", "dot", f"{measured}, {level} interval")]
    if _many(block):
        legend.append(("c0", "small", "each seed"))
    kinds = {kind for marks in draws for kind, _, _ in marks} - {_SEED}
    legend += [(kind, shape_of(kind), f"{kind} control") for kind in CONTROLS if kind in kinds]
    behind = ": the null draws lie behind." if kinds else "; no controls were drawn."
    over = " Marks at the right edge are infinite." if max(values) >= BEYOND else ""
    caption = f"{heading_or_name(metric)}{', log scale' if log else ''}{behind}{over}"
    return Chart(title, caption, picture(title, height, parts), legend)


def _forest_row(
    row: Row, metric: str, across: Scale, middle: float, marks: list[tuple[str, float, str]]
) -> Markup:
    cell, by = row.cells[metric], scale_of(metric)
    name = row.label if row.fill is None else f"{row.label}, {row.fill}"
    short = name if len(name) <= 17 else f"{name[:16]}…"
    parts = [
        element("text", joined([element("title", name), element("tspan", short)]),
                x=LEFT - 10, y=middle + 4, class_="label")
    ]  # fmt: skip
    parts += [_behind(kind, across(by * value), middle, told) for kind, value, told in marks]
    assert cell.value is not None
    told = f"{name}: {cell_text(cell, metric)}, n = {cell.n}, {cell.method}"
    inside = [element("title", told)]
    if cell.low is not None and cell.high is not None:
        low, high = across(by * cell.low), across(by * cell.high)
        inside.append(element("path", d=f"M{low} {middle}H{high}", class_="whisker"))
    inside.append(mark("dot", across(by * cell.value), middle))
    parts.append(element("g", joined(inside), class_="c0"))
    return joined(parts)


def _behind(kind: str, x: float, middle: float, told: str) -> Markup:
    """A control draw on its arm's line, or one seed of the arm as a dot below it."""
    title = element("title", told)
    if kind == _SEED:
        dot = mark("small", x, round(middle + 10, 1))
        return element("g", joined([title, dot]), class_="c0 seed")
    return element("g", joined([title, mark(shape_of(kind), x, middle)]), class_=kind)


def _draws(block: Block, row: Row, metric: str) -> list[tuple[str, float, str]]:
    """Kind, value and description of each control draw, then of each seed if there are several."""
    found: list[tuple[str, float, str]] = []
    for record in block.records:
        for arm in record.arms:
            if arm.label != row.label or arm.fill != row.fill:
                continue
            item = arm.measured(metric)
            if item.value is None:
                continue
            kind = arm.control or _SEED
            if kind == _SEED and not _many(block):
                continue
            told = f"{arm.name}, seed {record.seed}: {estimate_text(item, metric)}, n = {item.n}"
            found.append((kind, item.value, told))
    return sorted(found, key=lambda item: item[0] == _SEED)


def _many(block: Block) -> bool:
    return len(block.records) > 1


def _value(row: Row, metric: str) -> float | None:
    cell = row.cells.get(metric)
    return None if cell is None else cell.value
