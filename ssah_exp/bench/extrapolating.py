"""Identification of large models from measured growth curves, on the machine that measured them.

Pure arithmetic on what `ssah-exp bench growth` wrote: the common point of its curves, multiplied by
powers of how much larger each size is. docs/scaling.md prints the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssah_exp.bench.scaling import SHAPES, Shape, Work, duration, forward_flop

_AXES = ("tokens", "layers", "width")
Curves = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Extrapolated:
    """Seconds, and their range by the exponents' 95 % intervals, taken as independent."""

    seconds: float
    low: float
    high: float


def by_curves(curves: Curves, name: str, shape: Shape, tokens: int) -> Extrapolated:
    """What one measured time of identification would be at another size.

    A forward pass grows with weights per block, which grow with the square of the width;
    statistics with channels per block, which grow with the width. Both are taken from the shape,
    which may have more neurons for its width than the curves' models.

    Args:
        curves: ``curves["identification"]`` of a report.
        name: ``bare_seconds`` or ``extra_seconds``.
        shape: The model.
        tokens: Calibration tokens, all counted.

    Raises:
        ValueError: The curves have no point in common, or one has no exponent.
    """
    origin = common_point(curves)
    if name == "bare_seconds":
        here, there = origin["block_parameters"], shape.block_parameters
        wider = math.sqrt(there / shape.layers / (here / origin["layers"]))
    else:
        wider = shape.channels / shape.layers / (origin["channels"] / origin["layers"])
    larger = {
        "tokens": tokens / origin["tokens"],
        "layers": shape.layers / origin["layers"],
        "width": wider,
    }
    fits = {axis: _exponent(curves, axis, name) for axis in _AXES}
    logs = {axis: math.log(larger[axis]) for axis in _AXES}
    middle = math.log(origin[name]["median"]) + sum(
        fits[axis]["exponent"] * logs[axis] for axis in _AXES
    )
    half = math.hypot(
        *((fits[axis]["high"] - fits[axis]["exponent"]) * logs[axis] for axis in _AXES)
    )
    return Extrapolated(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def _exponent(curves: Curves, axis: str, name: str) -> Mapping[str, float]:
    found: Mapping[str, float] | None = curves[axis]["exponents"][name]
    if found is None:
        raise ValueError(f"The curve of {axis} has no exponent of {name}: a time was not above 0.")
    return found


def common_point(curves: Curves) -> Mapping[str, Any]:
    """The point that all three curves go through, as the curve of tokens measured it.

    Raises:
        ValueError: There is none.
    """
    others = [curves[axis]["points"] for axis in ("layers", "width")]
    sizes = [{_sizes(point) for point in points} for points in others]
    for point in curves["tokens"]["points"]:
        if all(_sizes(point) in some for some in sizes):
            found: Mapping[str, Any] = point
            return found
    raise ValueError("The curves have no point in common.")


def _sizes(point: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(point[axis] for axis in _AXES)


def measured_rate(curves: Curves) -> float:
    """FLOP/s of the bare forward pass at the largest width measured."""
    point = curves["width"]["points"][-1]
    flop = 2 * point["tokens"] * point["block_parameters"]
    attention = 2 * point["tokens"] * point["length"] * point["width"] * point["layers"]
    return float((flop + attention) / point["bare_seconds"]["median"])


def seconds_per_element(curves: Curves) -> float:
    """Seconds of the statistics per token and channel, at the largest width measured."""
    point = curves["width"]["points"][-1]
    return float(point["extra_seconds"]["median"] / point["tokens"] / point["channels"])


def growth_table(report: Mapping[str, Any]) -> str:
    """Markdown: forward pass, statistics beside it and accumulators, for Llama-2's sizes.

    Each time is given in two ways: by continuing the curves, and by the cost per unit of work at
    the largest width measured. The latter is nearer to what large sizes cost where small ones
    mostly pay a fixed cost per call.

    Args:
        report: What ``bench growth`` measured.

    Raises:
        ValueError: The curves have no point in common, or one has no exponent.
        LookupError: The report lacks curves, points or what is read of them; likewise TypeError.
    """
    curves, work = report["curves"]["identification"], Work()
    tokens = work.calibration * work.calibration_length
    rate, each = measured_rate(curves), seconds_per_element(curves)
    lines = [
        "| model | forward pass, by curves | by FLOP | statistics, by curves | by elements "
        "| accumulators |",
        "|---|---|---|---|---|---|",
    ]
    for name, shape in SHAPES.items():
        bare, extra = (
            by_curves(curves, key, shape, tokens) for key in ("bare_seconds", "extra_seconds")
        )
        flop = forward_flop(shape, tokens, work.calibration_length, head=False)
        state = 4 * 8 * shape.channels
        lines.append(
            f"| {name} | {_range(bare)} | {duration(flop / rate)} | {_range(extra)} "
            f"| {duration(each * tokens * shape.channels)} | {state / 1e6:.1f} MB |"
        )
    return "\n".join(lines)


def _range(found: Extrapolated) -> str:
    return f"{duration(found.seconds)} ({duration(found.low)} to {duration(found.high)})"
