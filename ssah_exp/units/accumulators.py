"""Running statistics over a calibration set, fed with per-example moments."""

from __future__ import annotations

import torch

from ssah_exp.units.moments import Moments, merge, pool


class VarianceAccumulator:
    """Exact pooled moments; the order of examples does not matter beyond rounding."""

    def __init__(self) -> None:
        self._total: Moments | None = None

    def update(self, moments: Moments) -> None:
        """Add a batch of examples (leading dimension ``B``)."""
        batch = pool(moments)
        self._total = batch if self._total is None else merge(self._total, batch)

    def result(self) -> Moments:
        """Moments over every token seen."""
        if self._total is None:
            raise RuntimeError("No batch was seen.")
        return self._total


class FlapAccumulator:
    r"""FLAP's running statistic as the precursor computes it (protocol section 1).

    With j = 1..N examples, t their counted tokens and mu_j the mean of the first j per-example
    means:

    .. math:: fluc = \frac{1}{N-1} \sum_{j \ge 2} \frac{j-1}{j} \sum_t (x_{jt} - \mu_j)^2

    The first example is dropped, sums over tokens are divided by examples, and the order of
    examples matters: all three as published.
    """

    def __init__(self) -> None:
        self._examples = 0
        self._mean: torch.Tensor | None = None
        self._sum: torch.Tensor | None = None

    def update(self, moments: Moments) -> None:
        """Add a batch of examples in their order; those without counted tokens are skipped."""
        for count, mean, m2 in zip(moments.count, moments.mean, moments.m2, strict=True):
            if count > 0:
                self._add(count, mean, m2)

    def _add(self, count: torch.Tensor, mean: torch.Tensor, m2: torch.Tensor) -> None:
        self._examples += 1
        j = self._examples
        if self._mean is None or self._sum is None:
            self._mean, self._sum = mean.clone(), torch.zeros_like(m2)
            return
        self._mean = self._mean + (mean - self._mean) / j
        about_running_mean = m2 + count * (mean - self._mean).square()
        self._sum = self._sum + (j - 1) / j * about_running_mean

    def result(self) -> torch.Tensor:
        """``(C,)`` float64; zero if fewer than two examples were seen."""
        if self._sum is None:
            raise RuntimeError("No batch was seen.")
        return self._sum / max(self._examples - 1, 1)
