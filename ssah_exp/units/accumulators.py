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
        """Moments over every token seen.

        Raises:
            RuntimeError: No batch was seen.
        """
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
        self._examples: torch.Tensor | int = 0  # kept where the moments are: nothing waits for it
        self._means: torch.Tensor | None = None  # ``(C,)``, sum of the per-example means
        self._sum: torch.Tensor | None = None

    def update(self, moments: Moments) -> None:
        """Add a batch in data order; an example without counted tokens adds nothing."""
        count, mean = moments.count.unsqueeze(-1), moments.mean
        if self._means is None or self._sum is None:
            self._means, self._sum = mean.new_zeros(mean.shape[1:]), mean.new_zeros(mean.shape[1:])
        number = (moments.count > 0).cumsum(dim=0) + self._examples
        self._examples = number[-1]
        number = number.clamp(min=1).to(mean.dtype)
        running = (mean.cumsum(dim=0) + self._means) / number.unsqueeze(-1)
        about_running_mean = moments.m2 + count * (mean - running).square()
        self._sum = self._sum + ((number - 1) / number) @ about_running_mean
        self._means = self._means + mean.sum(dim=0)

    def result(self) -> torch.Tensor:
        """``(C,)`` float64; zero if fewer than two examples were seen.

        Raises:
            RuntimeError: No batch was seen.
        """
        if self._sum is None:
            raise RuntimeError("No batch was seen.")
        return self._sum / max(int(self._examples) - 1, 1)
