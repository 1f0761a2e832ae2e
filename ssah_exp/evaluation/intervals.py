"""Point estimates with their intervals; the formulas are statsmodels' and scipy's.

Both are imported where they compute: records are read by commands that compute nothing, and the
two take longer to import than such a command to run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# With fewer values than this that differ from the commonest, means are not near enough to normal,
# and a bootstrap sees next to no variation: exact binomial bounds take their place.
FEW = 10


@dataclass(frozen=True)
class Estimate:
    """A number with what is needed to believe it.

    Attributes:
        value: Point estimate, or None where nothing could be measured.
        low: Lower end of the interval, or None where there is none.
        high: Upper end.
        n: Observations behind it.
        unit: What one observation is.
        method: How the interval was made.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    method: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def mapped(self, change: Callable[[float], float]) -> Estimate:
        """Value and ends each put through an increasing function; gaps stay gaps."""
        value, low, high = (
            None if item is None else change(item) for item in (self.value, self.low, self.high)
        )
        return replace(self, value=value, low=low, high=high)


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Attributes:
        confidence: Level of the intervals, from 0 to 1.
        resamples: Resamples per bootstrap.
        seed: Decides the resamples.
    """

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    @property
    def method(self) -> str:
        """The method in words, for people."""
        return f"percentile bootstrap {level_text(self.confidence)}, {self.resamples} resamples"

    def interval(
        self,
        samples: Sequence[NDArray[np.float64]],
        statistic: Callable[..., Any],
        *,
        paired: bool = False,
        batch: int | None = None,
    ) -> tuple[Any, Any]:
        """Ends of the percentile interval of ``statistic(*samples, axis)``.

        Args:
            samples: Each ``(observations, ...)``; what belongs to an observation stays together.
            statistic: Gets ``(..., observations)``, returns ``(...)``.
            paired: Whether the same observations are drawn from every sample.
            batch: Resamples in memory at a time; None = all.
        """
        from scipy import stats

        found = stats.bootstrap(
            samples,
            statistic,
            paired=paired,
            vectorized=True,
            confidence_level=self.confidence,
            n_resamples=self.resamples,
            method="percentile",
            batch=batch,
            rng=np.random.default_rng(self.seed),
        ).confidence_interval
        return found.low, found.high


def level_text(confidence: float) -> str:
    """A level as people write it: ``95%``, ``99.5%``, which whole numbers would make ``100%``."""
    return f"{100 * confidence:.10g}%"


def alike(values: Sequence[float], rounding: float = 1e-12) -> bool:
    """Whether values differ by rounding at most: 0.3 - 0.1 and 0.4 - 0.2 are the same difference.

    Without this a t test would take rounding for the spread of seeds and be certain of anything.

    Args:
        values: To compare; a value that is not finite is like no other.
        rounding: Largest range that counts as rounding, as a share of the largest absolute value,
            or of 1 where that is smaller.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        return True
    return bool(
        np.isfinite(sample).all() and np.ptp(sample) <= rounding * max(1, abs(sample).max())
    )


def rate(successes: float, n: int, confidence: float, unit: str = "prompts") -> Estimate:
    """A share with its Wilson score interval; ``n = 0`` gives a gap, not zero.

    ``successes`` may be fractional where one observation averages several answers.
    """
    method = f"Wilson {level_text(confidence)}"
    if n == 0:
        return Estimate(None, None, None, 0, unit, method)
    share = successes / n
    low, high = _wilson(successes, n, confidence)
    # Rounding may leave 0 or 1 a hair outside its own interval.
    return Estimate(share, min(low, share), max(high, share), n, unit, method)


@lru_cache(maxsize=4096)
def _wilson(successes: float, n: int, confidence: float) -> tuple[float, float]:
    """Ends for one share, kept: most arms of a run share their counts, none of 100 above all."""
    low, high = _share_within(successes, n, confidence, "wilson")
    return float(low), float(high)


def _share_within(successes: Any, n: Any, confidence: float, method: str) -> tuple[Any, Any]:
    """Ends of the intervals of shares, numbers or arrays: ``wilson``, or ``beta`` (exact)."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, n, alpha=1 - confidence, method=method)
    return low, high


def mean_of_rates(
    counts: Sequence[tuple[int, int]], confidence: float, unit: str = "prompts"
) -> Estimate:
    """Unweighted mean of shares over independent samples; no samples, or an empty one, give a gap.

    The distances of each share from the ends of its Wilson interval, squared and added, take the
    place of standard errors: Zou, Huang and Zhang 2009, Computational Statistics & Data Analysis
    53:1080, after Newcombe 1998, Statistics in Medicine 17:873 (method 10). For one sample the
    result is Wilson's own interval. Simulated at 95 %, it holds the mean of two shares near 99 %
    of 100 each in 92 % of cases (a normal interval from their variances: 80, and none at all where
    every share is 0 or 1), of six of 35 % in 95 (95), of six of 2 % in 90 (95).

    Args:
        counts: Successes and observations of each sample.
        confidence: Level of the interval.
        unit: What one observation is; ``n`` of the result counts those of all samples.
    """
    n = sum(size for _, size in counts)
    if not counts or not all(size for _, size in counts):
        return Estimate(None, None, None, n, unit, "none: a sample is empty")
    successes, sizes = np.asarray(counts, dtype=np.float64).T
    shares, samples = successes / sizes, len(counts)
    low, high = _share_within(successes, sizes, confidence, "wilson")
    value = float(shares.mean())
    below = float(np.linalg.norm(shares - low)) / samples
    above = float(np.linalg.norm(high - shares)) / samples
    method = f"Wilson {level_text(confidence)} of {samples} tasks, squared and added"
    ends = max(0.0, value - below), min(1.0, value + above)
    return Estimate(value, *ends, n, unit, method)


def perplexity(window_losses: Sequence[float], resampling: Resampling) -> Estimate:
    """exp(mean loss) with a percentile bootstrap over windows; a loss that is NaN makes it a gap.

    Of few windows it is too narrow: simulated on normal losses, intervals at 95 % hold the mean in
    51 % of cases with 2 windows, 79 with 4, 90 with 8 and 94 with 30.

    Args:
        window_losses: Mean nats per token of each window.
        resampling: How the interval is made.
    """
    losses = np.asarray(window_losses, dtype=np.float64)
    if np.isnan(losses).any():
        why = "none: a loss is not a number"
        return Estimate(None, None, None, int(losses.size), "windows", why)
    method = f"{resampling.method} of windows"
    value = exp(float(losses.mean()))
    if lacking := _without_interval(losses):
        return Estimate(value, None, None, int(losses.size), "windows", f"none: {lacking}")
    low, high = map(float, resampling.interval((losses,), np.mean))
    return Estimate(value, exp(low), exp(high), losses.size, "windows", method)


def _without_interval(losses: NDArray[np.float64]) -> str | None:
    """Why these windows give no interval; None = they give one."""
    if losses.size < 2:
        return "one window"
    if not np.isfinite(losses).all():
        return "a loss is infinite"
    return "all windows alike" if alike(losses.tolist()) else None


def mean_score(
    scores: Sequence[float], resampling: Resampling, ends: tuple[float, float] | None = None
) -> Estimate:
    """Mean of judges' scores with a percentile bootstrap over answers.

    No scores give a gap. Where fewer than :data:`FEW` differ from the commonest score, resamples
    say next to nothing of those that may have been missed: :func:`about_the_commonest` makes the
    interval. Without ``ends`` it is the bootstrap's there, too, and there is none where all are
    equal.

    Args:
        scores: One per answer.
        resampling: How the interval is made.
        ends: Lowest and highest score there can be.
    """
    sample = np.asarray(scores, dtype=np.float64)
    n, unit = int(sample.size), "answers"
    if n == 0:
        return Estimate(None, None, None, 0, unit, "none: no scores")
    mean = float(sample.mean())
    if ends is not None and few_differ(sample):
        low, high = about_the_commonest(sample, ends, resampling.confidence)
        level = level_text(resampling.confidence)
        method = f"Clopper-Pearson {level} of other scores than the commonest, times the scale"
    elif np.ptp(sample) == 0:
        return Estimate(mean, None, None, n, unit, "none: all scores alike")
    else:
        low, high = map(float, resampling.interval((sample,), np.mean))
        method = f"{resampling.method} of answers"
    return Estimate(mean, low, high, n, unit, method)


def few_differ(values: NDArray[np.float64]) -> bool:
    """Whether fewer than :data:`FEW` values differ from the commonest one."""
    _, counts = np.unique(values, return_counts=True)
    return bool(values.size - counts.max() < FEW)


def about_the_commonest(
    values: NDArray[np.float64], ends: tuple[float, float], confidence: float
) -> tuple[float, float]:
    """Ends of an interval for the mean of values most of which are the same.

    The shares of values below and above the commonest are at most the upper ends of Clopper and
    Pearson's intervals (1934, Biometrika 26:404), and none of them lies beyond the scale: the mean
    is within those shares of the way to either end, whatever the distribution.

    Args:
        values: ``(n,)``, of which :func:`few_differ`.
        ends: Lowest and highest value there can be.
        confidence: Level of the interval.
    """
    found, counts = np.unique(values, return_counts=True)
    common = float(found[counts.argmax()])
    others = np.asarray([(values < common).sum(), (values > common).sum()])
    _, (below, above) = _share_within(others, values.size, confidence, "beta")
    low, high = ends
    return common - float(below) * (common - low), common + float(above) * (high - common)


def exp(value: float) -> float:
    """exp that gives infinity where a float64 overflows: destroyed models do get there."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
