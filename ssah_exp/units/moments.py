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


@dataclass(frozen=True)
class Counted:
    """Which tokens of a batch count, worked out once for all layers.

    Attributes:
        mask: ``(B, T)`` bool, true on tokens that count.
        every: Whether all tokens count.
        rows: Where each example's counted tokens are: a slice, which copies nothing, if they are
            consecutive, as a response's are; else positions, ``(n,)`` int64. Empty off the CPU.
    """

    mask: torch.Tensor
    every: bool
    rows: tuple[slice | torch.Tensor, ...]

    @classmethod
    def of(cls, mask: torch.Tensor) -> Counted:
        """What a ``(B, T)`` bool mask counts."""
        rows = tuple(_places(row) for row in mask) if mask.device.type == "cpu" else ()
        return cls(mask, bool(mask.all()), rows)

    def to(self, device: torch.device) -> Counted:
        """The same for activations on another device."""
        return self if self.mask.device == device else Counted.of(self.mask.to(device))


def _places(row: torch.Tensor) -> slice | torch.Tensor:
    places = row.nonzero().squeeze(1)
    if not len(places):
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


class Scratch:
    """Float64 memory into which examples are widened, one after the other.

    Memory allocated anew for each example would come from the system page by page, which takes
    several times as long as the arithmetic.
    """

    def __init__(self) -> None:
        self._values = torch.empty(0, dtype=torch.float64)

    def holding(self, tokens: torch.Tensor) -> torch.Tensor:
        """``(T, C)`` float64 with the values of ``tokens``, valid until the next call."""
        if self._values.numel() < tokens.numel():
            with torch.inference_mode(False):  # usable inside and outside of inference mode
                self._values = torch.empty(tokens.numel(), dtype=torch.float64)
        return self._values[: tokens.numel()].view(tokens.shape).copy_(tokens)


def example_moments(
    activations: torch.Tensor, counted: Counted, scratch: Scratch | None = None
) -> Moments:
    """Moments of each example's counted tokens.

    Args:
        activations: ``(B, T, C)``, any float dtype.
        counted: Which of the tokens count; on the same device.
        scratch: Memory to compute in on a CPU, kept between calls.

    Returns:
        Moments with leading dimension ``B``; an example without counted tokens has count 0.
    """
    if activations.device.type == "cpu":
        return _one_by_one(activations, counted, scratch or Scratch())
    return _all_at_once(activations, counted)


def _one_by_one(activations: torch.Tensor, counted: Counted, scratch: Scratch) -> Moments:
    """Two passes in float64 over each example's counted tokens.

    On a CPU this is also the fast way: an example's tokens stay in the cache between the passes,
    and padding is never touched.
    """
    shape = (len(activations), activations.shape[-1])
    mean, m2 = (activations.new_zeros(shape, dtype=torch.float64) for _ in range(2))
    for at, (values, places) in enumerate(zip(activations, counted.rows, strict=True)):
        _two_passes(scratch.holding(values[places]), mean[at], m2[at])
    return Moments(counted.mask.sum(dim=1).double(), mean, m2)


def _two_passes(values: torch.Tensor, mean: torch.Tensor, m2: torch.Tensor) -> None:
    """Mean and summed squared deviation of ``(T, C)`` float64 over T, into ``(C,)`` each.

    The values are overwritten. A product with ones is the quickest sum over rows.
    """
    if not len(values):
        return
    ones = values.new_ones(len(values))
    torch.mv(values.T, ones, out=mean).div_(len(values))
    torch.mv(values.sub_(mean).square_().T, ones, out=m2)


def _all_at_once(activations: torch.Tensor, counted: Counted) -> Moments:
    """Two passes over the batch with the rounding of the first mean corrected.

    Nothing cancels where the mean is far larger than the standard deviation, and a GPU runs a few
    large kernels rather than many small ones. They are bound by memory, so the batch is widened
    once, in the deviations (a sum straight into float64 would copy it each time), and nothing is
    masked where every token counts.
    """
    # float32 is enough for a rough mean. Padding may hold anything, NaN included, so it is replaced
    # rather than multiplied away.
    mask, unselected = counted.mask, ~counted.mask.unsqueeze(-1)
    wide = torch.float64 if activations.dtype == torch.float64 else torch.float32
    values = activations if counted.every else activations.masked_fill(unselected, 0.0)
    count = mask.sum(dim=1).to(wide)
    divisor = count.clamp(min=1).unsqueeze(-1)
    rough_mean = values.sum(dim=1, dtype=wide) / divisor
    deviations = values - rough_mean.double().unsqueeze(1)
    if not counted.every:
        deviations.masked_fill_(unselected, 0.0)
    residue = deviations.sum(dim=1)
    squares = torch.linalg.vector_norm(deviations, dim=1).square()
    mean = rough_mean.double() + residue / divisor
    return Moments(count.double(), mean, squares - residue.square() / divisor)


def joined(batches: Sequence[Moments]) -> Moments:
    """Batches concatenated along their leading dimension."""
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
