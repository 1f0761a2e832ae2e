"""Growth as a power: slopes of straight lines through logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats


def power_law(sizes: Sequence[float], values: Sequence[float]) -> dict[str, Any] | None:
    """Fit ``value = factor * size ** exponent`` by least squares on logarithms.

    Args:
        sizes: At least three different ones above 0, in ascending order.
        values: One for each size.

    Returns:
        ``exponent``, its 95 % interval ``low`` and ``high`` by Student's t with two fewer degrees
        of freedom than points, ``factor``, ``points``, and ``last``, the slope between the two
        largest sizes alone: if it is steeper, a fixed cost per call still weighs on smaller sizes.
        None if a value is not above 0.
    """
    if min(values) <= 0:
        return None
    x, y = np.log(sizes), np.log(values)
    # By hand: linregress of scipy takes the error from 1 - r^2, which rounding spoils where a fit
    # is nearly perfect and makes NaN where values hardly grow.
    about = x - x.mean()
    slope = float(about @ y / (about @ about))
    residuals = y - y.mean() - slope * about
    freedom = len(x) - 2
    error = float(np.sqrt(residuals @ residuals / freedom / (about @ about)))
    half = float(stats.t.ppf(0.975, freedom)) * error
    return {
        "exponent": slope,
        "low": slope - half,
        "high": slope + half,
        "factor": float(np.exp(y.mean() - slope * x.mean())),
        "last": float((y[-1] - y[-2]) / (x[-1] - x[-2])),
        "points": len(x),
    }
