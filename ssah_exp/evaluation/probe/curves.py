"""Estimates at every depth of a model, with intervals over what was sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssah_exp.evaluation.intervals import Resampling

Array = NDArray[np.float64]
# Resamples held in memory at a time, of depths x requests numbers each.
_BATCH = 500
# What is sampled.
_UNIT = "requests"


@dataclass(frozen=True)
class Curve:
    """One number per depth; None is a gap.

    Attributes:
        value: Point estimates; index 0 is the embedding, index d block d.
        low: Lower ends of their intervals.
        high: Upper ends.
        n: Observations behind every point.
        unit: What one observation is.
        method: How the intervals were made.
        p: p-values of a difference from 0, adjusted as ``method`` says; None = not tested.
    """

    value: list[float | None]
    low: list[float | None]
    high: list[float | None]
    n: int
    unit: str
    method: str
    p: list[float | None] | None = None


def mean_curve(sample: Array, resampling: Resampling) -> Curve:
    """Mean at every depth.

    Args:
        sample: ``(requests, depth)``; a depth that holds a NaN is a gap.
        resampling: For the intervals.
    """
    return _curve(sample, np.mean, resampling, resampling.method)


def smoothed_gap(sample: Array, window: int, resampling: Resampling) -> Curve:
    """Absolute mean at every depth, smoothed over neighbouring depths.

    The absolute value of a mean is above 0 even where the truth is 0; read it beside a null.

    Args:
        sample: ``(requests, depth)``; a depth that holds a NaN is a gap.
        window: Depths per moving average, odd; fewer at the ends.
        resampling: For the intervals.
    """

    def statistic(data: Array, axis: int) -> Array:
        absolute = np.abs(data.mean(axis=axis))
        smooth: Array = np.tensordot(moving_average(len(absolute), window), absolute, axes=1)
        return smooth

    method = f"{resampling.method}; centred moving average of |mean| over {window} depths"
    return _curve(sample, statistic, resampling, method)


def moving_average(length: int, window: int) -> Array:
    """Matrix of a centred moving average; at the ends it averages what is there.

    Returns:
        ``(length, length)``, rows sum to 1.
    """
    places = np.arange(length)
    near = (np.abs(places[:, None] - places) <= window // 2).astype(np.float64)
    averaging: Array = near / near.sum(axis=1, keepdims=True)
    return averaging


def auc_curve(positive: Array, negative: Array, resampling: Resampling) -> Curve:
    """Area under the ROC curve at every depth; each class is resampled by itself.

    A class of one request cannot be resampled and gives no interval; an empty one, no value.

    Args:
        positive: ``(requests, depth)`` scores that should be high.
        negative: ``(requests, depth)`` scores that should be low.
        resampling: For the intervals.
    """
    n, smallest = len(positive) + len(negative), min(len(positive), len(negative))
    gaps: list[float | None] = [None] * positive.shape[1]
    if smallest == 0:
        return Curve(gaps, gaps, gaps, n, _UNIT, "none: a class is empty")
    value = area_under_curve(positive.T, negative.T)
    if smallest == 1:
        return Curve(_gaps(value), gaps, gaps, n, _UNIT, f"none: one of {_UNIT} in a class")
    low, high = resampling.interval((positive, negative), area_under_curve, batch=_BATCH)
    return Curve(_gaps(value), _gaps(low), _gaps(high), n, _UNIT, resampling.method)


def area_under_curve(positive: Array, negative: Array, axis: int = -1) -> Array:
    """Share of pairs in which the positive scores higher; ties count half (Mann and Whitney).

    Args:
        positive: ``(..., positives)``.
        negative: ``(..., negatives)``.
        axis: The last one; no other works.

    Returns:
        ``(...)``, from 0 to 1.
    """
    from scipy.stats import rankdata  # late, as in intervals: records are read through this module

    ranks = rankdata(np.concatenate([positive, negative], axis=axis), axis=axis)
    ups, downs = positive.shape[axis], negative.shape[axis]
    above = ranks[..., :ups].sum(axis=-1) - ups * (ups + 1) / 2
    area: Array = above / (ups * downs)
    return area


def range_curve(values: Array) -> Curve:
    """Mean, smallest and largest over few shuffles, ``(shuffles, depth)``."""
    ends = (values.mean(axis=0), values.min(axis=0), values.max(axis=0))
    mean, low, high = (_gaps(end) for end in ends)
    return Curve(mean, low, high, len(values), "shuffles", "range over shuffles")


def _curve(sample: Array, statistic: Any, resampling: Resampling, method: str) -> Curve:
    count, depth = sample.shape
    if count == 0:
        return Curve([None] * depth, [None] * depth, [None] * depth, 0, _UNIT, "none: no data")
    there = ~np.isnan(sample).any(axis=0)
    value, low, high = (np.full(depth, np.nan) for _ in range(3))
    value[there] = statistic(sample[:, there].T, axis=-1)
    if count == 1:
        return Curve(_gaps(value), _gaps(low), _gaps(high), 1, _UNIT, f"none: one of {_UNIT}")
    low[there], high[there] = resampling.interval((sample[:, there],), statistic, batch=_BATCH)
    return Curve(_gaps(value), _gaps(low), _gaps(high), count, _UNIT, method)


def _gaps(values: Array) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
