"""Exact first and second moments of activations, per example, and their merging.

Everything is built from per-example moments, so that the same forward pass serves the exact
variance (order-free) and the precursor's running statistic (protocol section 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Moments:
    """Token count, mean and summed squared deviation.

    Attributes:
        count: ``(...)`` float64, tokens.
        mean: ``(..., C)`` float64.
        m2: ``(..., C)`` float64, sum over tokens of (x - mean)^2.
    """

    count: torch.Tensor
    mean: torch.Tensor
    m2: torch.Tensor

    def variance(self) -> torch.Tensor:
        """Unbiased variance over tokens, m2 / (count - 1)."""
        return self.m2 / (self.count - 1).unsqueeze(-1)

    def cpu(self) -> Moments:
        """The same numbers in main memory."""
        return Moments(self.count.cpu(), self.mean.cpu(), self.m2.cpu())


def example_moments(activations: torch.Tensor, mask: torch.Tensor) -> Moments:
    """Moments of each example's counted tokens.

    Args:
        activations: ``(B, T, C)``, any float dtype.
        mask: ``(B, T)`` bool, true on tokens that count.

    Returns:
        Moments with leading dimension ``B``; an example without counted tokens has count 0.
    """
    if activations.device.type == "cpu":
        return _one_by_one(activations, mask)
    return _all_at_once(activations, mask)


def _one_by_one(activations: torch.Tensor, mask: torch.Tensor) -> Moments:
    """Two passes in float64 over each example's counted tokens.

    On a CPU this is also the fast way: an example's tokens stay in the cache between the passes,
    and padding is never touched. Some 20 times faster than passes over the whole batch.
    """
    found = [
        _two_passes(values[counted]) for values, counted in zip(activations, mask, strict=True)
    ]
    means, squares = (torch.stack(parts) for parts in zip(*found, strict=True))
    return Moments(mask.sum(dim=1).double(), means, squares)


def _two_passes(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and summed squared deviation of ``(T, C)`` over T, ``(C,)`` float64 each."""
    values = tokens.double()
    # A product with ones is the quickest sum over rows.
    mean = values.new_ones(len(values)) @ values / max(len(values), 1)
    return mean, (values - mean).square_().sum(dim=0)


def _all_at_once(activations: torch.Tensor, mask: torch.Tensor) -> Moments:
    """Two passes over the batch with the rounding of the first mean corrected.

    Nothing cancels where the mean is far larger than the standard deviation, and a GPU runs a few
    large kernels rather than many small ones.
    """
    # float32 is exact enough inside one example; half precision is widened first. Padding may hold
    # anything, NaN included, so it is replaced rather than multiplied away.
    counted = mask.unsqueeze(-1)
    values = activations if activations.dtype == torch.float64 else activations.float()
    values = torch.where(counted, values, 0.0)
    count = mask.sum(dim=1).to(values.dtype)
    divisor = count.clamp(min=1).unsqueeze(-1)
    rough_mean = values.sum(dim=1) / divisor
    deviations = torch.where(counted, values - rough_mean.unsqueeze(1), 0.0)
    residue = deviations.sum(dim=1, dtype=torch.float64)
    squares = deviations.square().sum(dim=1, dtype=torch.float64)
    mean = rough_mean.double() + residue / divisor
    return Moments(count.double(), mean, squares - residue.square() / divisor)


def joined(batches: Sequence[Moments]) -> Moments:
    """Batches one behind the other, along their leading dimension."""
    parts = ("count", "mean", "m2")
    return Moments(*(torch.cat([getattr(item, part) for item in batches]) for part in parts))


def pool(moments: Moments) -> Moments:
    """Merge the leading dimension: moments of all examples' tokens together.

    Args:
        moments: Leading dimension ``B``.

    Returns:
        Moments without it.
    """
    total = moments.count.sum()
    share = (moments.count / total.clamp(min=1)).unsqueeze(-1)
    mean = (share * moments.mean).sum(dim=0)
    between = moments.count.unsqueeze(-1) * (moments.mean - mean).square()
    return Moments(total, mean, (moments.m2 + between).sum(dim=0))


def merge(first: Moments, second: Moments) -> Moments:
    """Merge two disjoint sets of tokens (Chan et al. 1979)."""
    stacked = Moments(
        torch.stack([first.count, second.count]),
        torch.stack([first.mean, second.mean]),
        torch.stack([first.m2, second.m2]),
    )
    return pool(stacked)
