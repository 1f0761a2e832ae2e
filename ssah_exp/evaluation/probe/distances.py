"""Distances between hidden states: pure functions over the last dimension."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ssah_exp.evaluation.probe.names import RAW


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 - cosine similarity, from 0 (same direction) to 2; NaN where a vector is zero.

    Args:
        one: ``(..., hidden)``.
        other: Broadcasts with ``one``.

    Returns:
        ``(...)`` float64.
    """
    return 1 - _similarity(one, other)


def angular(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Angle over pi, from 0 to 1: a metric, which ``cosine`` is not. See :func:`cosine`."""
    return torch.arccos(_similarity(one, other)) / math.pi


def l2(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Euclidean distance. See :func:`cosine`."""
    length: torch.Tensor = torch.linalg.vector_norm(one.double() - other.double(), dim=-1)
    return length


def _similarity(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    left, right = one.double(), other.double()
    lengths = torch.linalg.vector_norm(left, dim=-1) * torch.linalg.vector_norm(right, dim=-1)
    # Rounding may leave [-1, 1] by a hair; clamp keeps NaN, which is 0 / 0 here.
    similarity: torch.Tensor = ((left * right).sum(dim=-1) / lengths).clamp(-1, 1)
    return similarity


DISTANCES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cosine": cosine,
    "angular": angular,
    "l2": l2,
}


def between(
    distance: str, variant: str, one: torch.Tensor, other: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    """One distance in one variant.

    Args:
        distance: A key of :data:`DISTANCES`.
        variant: ``raw``, or ``content_free``: ``content`` is subtracted from both states.
        one: ``(B, K, depth, hidden)`` states of the bare request's continuation.
        other: The same of another continuation.
        content: ``(B, depth, hidden)`` state of the bare request at its last position.

    Returns:
        ``(B, K, depth)`` float64. ``content_free`` has no value (NaN) at depth 0: an embedding
        depends on its token alone and holds nothing of the request that could be subtracted.
    """
    if variant == RAW:
        return DISTANCES[distance](one, other)
    shared = content.unsqueeze(1)
    result = DISTANCES[distance](one - shared, other - shared)
    result[..., 0] = torch.nan
    return result
