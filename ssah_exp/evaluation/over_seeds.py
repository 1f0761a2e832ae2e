"""Means over seeds, or over control draws, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ssah_exp.evaluation.intervals import Estimate, alike, exp, level_text, rate


def mean_over(values: Sequence[float], confidence: float, unit: str) -> Estimate:
    """Mean with Student's t interval, over seeds or control draws.

    Values that are all alike show no spread, which is no proof that there is none: no interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    method = f"Student t {level_text(confidence)} over {unit}"
    if sample.size == 0:
        return Estimate(None, None, None, 0, unit, method)
    with np.errstate(invalid="ignore"):  # of infinities of both signs there is no mean
        mean = float(sample.mean())
    if sample.size == 1:
        return Estimate(mean, None, None, 1, unit, f"none: one of {unit}")
    if not math.isfinite(mean):
        return Estimate(mean, None, None, int(sample.size), unit, "none: not finite")
    if alike(values):
        return Estimate(mean, None, None, int(sample.size), unit, f"none: all {unit} alike")
    from scipy import stats  # late, as in intervals: pictures are drawn by what imports this

    margin = float(stats.t.ppf(0.5 + confidence / 2, sample.size - 1) * stats.sem(sample))
    return Estimate(mean, mean - margin, mean + margin, int(sample.size), unit, method)


def rate_over_seeds(values: Sequence[float], n: int, confidence: float) -> Estimate:
    """Mean rate over seeds that answered ``n`` prompts each.

    Two things vary, seeds and prompts. Student's t sees only the first, and nothing at all where
    every seed has the same rate; Wilson at the mean rate sees the second. The interval is the
    envelope of both, within [0, 1]; one seed has none.
    """
    over = mean_over(values, confidence, "seeds")
    if over.value is None or len(values) == 1:
        return over
    prompts = rate(over.value * n, n, confidence)
    method = f"envelope of Student t over seeds and Wilson over prompts, {level_text(confidence)}"
    return _envelope(over, [prompts.low, prompts.high], method)


def mean_rate_over_seeds(of_each: Sequence[Estimate], confidence: float) -> Estimate:
    """Mean over seeds of means of several rates, whose samples may differ in size.

    As :func:`rate_over_seeds`, but with every seed's own interval, moved to the mean over seeds, in
    place of Wilson's.

    Args:
        of_each: One :func:`mean_of_rates` per seed, none of them a gap.
        confidence: Level of the interval.
    """
    values = [one.value for one in of_each if one.value is not None]
    over = mean_over(values, confidence, "seeds")
    if over.value is None or len(values) == 1:
        return over
    own = [
        over.value + end - value
        for one, value in zip(of_each, values, strict=True)
        for end in (one.low, one.high)
        if end is not None
    ]
    method = f"envelope of Student t over seeds and one seed's own, {level_text(confidence)}"
    return _envelope(over, own, method)


def _envelope(over: Estimate, ends: Sequence[float | None], method: str) -> Estimate:
    """A mean rate over seeds whose interval holds these ends, too, within [0, 1]."""
    known = [item for item in (over.low, over.high, *ends) if item is not None]
    low, high = max(0.0, min(known)), min(1.0, max(known))
    return Estimate(over.value, low, high, over.n, "seeds", method)


def perplexity_over_seeds(values: Sequence[float], confidence: float) -> Estimate:
    """Geometric mean over seeds with Student's t on the log scale: perplexities are positive.

    If a value is not finite or not positive, the result is that of :func:`mean_over`.
    """
    if not all(math.isfinite(value) and value > 0 for value in values):
        return mean_over(values, confidence, "seeds")
    logs = mean_over([math.log(value) for value in values], confidence, "seeds")
    return replace(logs.mapped(exp), method=f"{logs.method}, log scale")
