"""What the figures share: frame, grid, marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ssah_exp.reporting.report.svg import Scale, element, joined

COLOURS = 7  # series told apart by colour, as classes c0 to c6 of the style sheet
WIDTH, LEFT, RIGHT = 420, 112, 14
_SIZE, _SMALL = 4.5, 2.5  # half the width of a mark, and of one of several seeds
_SHAPES = {"random": "cross", "matched": "triangle", "shifted": "square", "normed": "diamond"}


@dataclass(frozen=True)
class Chart:
    """A figure.

    Attributes:
        title: What a screen reader says of it first.
        caption: What is drawn, and how.
        svg: The picture.
        legend: Class of the mark, shape (of :func:`mark`), text.
    """

    title: str
    caption: str
    svg: Markup
    legend: list[tuple[str, str, str]]


def mark(shape: str, x: float, y: float) -> Markup:
    """What is told apart without colour.

    Args:
        shape: ``dot``, ``small`` (a smaller dot), ``cross``, ``triangle``, ``square``,
            ``diamond`` or ``line``.
        x: Its middle.
        y: Its middle.
    """
    if shape in ("dot", "small"):
        return element("circle", cx=x, cy=y, r=_SIZE if shape == "dot" else _SMALL, class_="fill")
    if shape == "cross":
        wide = 2 * _SIZE
        path = f"M{x - _SIZE:.1f} {y - _SIZE:.1f}l{wide} {wide}m0 {-wide}l{-wide} {wide}"
        return element("path", d=path, class_="line")
    if shape == "triangle":
        path = f"M{x:.1f} {y - _SIZE:.1f}l{_SIZE} {1.8 * _SIZE:.1f}h{-2 * _SIZE}z"
        return element("path", d=path, class_="line")
    if shape == "square":
        wide = 2 * _SIZE
        path = f"M{x - _SIZE:.1f} {y - _SIZE:.1f}h{wide}v{wide}h{-wide}z"
        return element("path", d=path, class_="line")
    if shape == "diamond":
        half = 1.3 * _SIZE
        path = f"M{x:.1f} {y - half:.1f}l{half} {half}l{-half} {half}l{-half} {-half}z"
        return element("path", d=path, class_="line")
    return element("path", d=f"M{x - 8} {y}h16", class_="line")


def shape_of(control: str) -> str:
    """The mark of a control."""
    return _SHAPES[control]


def grid_across(across: Scale, bottom: float) -> Markup:
    """Vertical grid lines with their values below."""
    parts = []
    for value, text in tick_texts(across):
        x = across(value)
        parts.append(element("path", d=f"M{x} 6V{bottom}", class_="grid"))
        parts.append(element("text", text, x=x, y=bottom + 16, class_="axis middle"))
    return joined(parts)


def grid_up(up: Scale, across: Scale) -> Markup:
    """Horizontal grid lines with their values at the left."""
    parts = []
    for value, text in tick_texts(up):
        y = up(value)
        parts.append(element("path", d=f"M{across.start} {y}H{across.end}", class_="grid"))
        parts.append(element("text", text, x=across.start - 8, y=y + 4, class_="axis end"))
    return joined(parts)


def tick_texts(scale: Scale) -> list[tuple[float, str]]:
    """Ticks with what is written at them: as many digits as tell the values apart, all alike."""
    ticks = scale.ticks()
    if scale.log:
        return [(value, f"{value:g}") for value in ticks]
    digits = next(n for n in range(11) if all(round(value, n) == value for value in ticks))
    return [(value, f"{value:.{digits}f}") for value in ticks]


def picture(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    """Parts in their frame, which takes the width it is given."""
    return element(
        "svg", joined(parts), viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=title
    )
