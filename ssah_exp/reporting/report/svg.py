"""Scales, and SVG elements with everything in them escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ssah_exp.reporting.figures.drawing import BEYOND


@dataclass(frozen=True)
class Scale:
    """From values to pixels.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``.
        start: Pixel.
        end: Pixel; below ``start`` where values grow upwards.
        log: Equal ratios, not differences, take equal room; both values are then positive.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixel of a value; one outside, infinity included, is put on the edge."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """A few round values."""
        if self.log and self.high > 8 * self.low:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            inner = [10.0**power for power in range(first, last + 1)]
            steps = [value * by for value in inner for by in ((1, 3) if last - first < 3 else (1,))]
            return [value for value in steps if self.low <= value <= self.high]
        step = _round_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + at) * step, 10) for at in range(count)]


def _round_step(rough: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(by * power for by in (1, 2, 2.5, 5, 10) if by * power >= rough * (1 - 1e-9))


def spanning(values: Sequence[float], start: float, end: float, log: bool = False) -> Scale:
    """A scale with a little room around ``values``; overflowed ones lie on its edge."""
    finite = [value for value in values if abs(value) < BEYOND and (value > 0 or not log)]
    if not finite:
        return Scale(1.0, 10.0, start, end, log)
    low, high = min(finite), max(finite)
    if log:
        ratio = max((high / low) ** 0.06, 1.1)
        return Scale(low / ratio, high * ratio, start, end, log)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end, log)


def element(tag: str, inside: object = "", **attributes: object) -> Markup:
    """``<tag ...>inside</tag>``; ``class_`` is ``class``, and ``_`` in a name is ``-``."""
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{tag}{named}>{escape(inside)}</{tag}>")  # noqa: S704 - both parts escaped


def joined(parts: Sequence[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)
