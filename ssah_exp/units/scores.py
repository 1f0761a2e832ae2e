"""From channel statistics to normalised unit scores (protocol section 1); pure functions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ssah_exp.models.sizes import Anatomy, Kind
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.statistics import ChannelStatistics

# Far above what float64 loses in a mean, far below how much channels of a real layer differ.
_ROUNDING = 1e-12


def channel_importance(dispersion: torch.Tensor, column_norms: torch.Tensor) -> torch.Tensor:
    """I_j = dispersion_j * ||W^B_:,j||_2^2.

    Args:
        dispersion: ``(..., layers, channels)`` variance or flap statistic of B's input.
        column_norms: ``(layers, channels)`` squared column norms of B.

    Returns:
        ``(..., layers, channels)`` float64, not negative.
    """
    return dispersion.double() * column_norms.double()


def standardise(scores: torch.Tensor) -> torch.Tensor:
    """z-score within each layer: ``(layers, channels)`` to zero mean and unit deviation.

    A layer whose channels all score the same, or that has a single one, carries no ranking and
    becomes zero.
    """
    if scores.shape[1] == 1:
        return torch.zeros_like(scores)
    mean = scores.mean(dim=1, keepdim=True)
    deviation = scores.std(dim=1, keepdim=True)
    # The mean of equal numbers may miss them by a rounding, which must not become a score.
    equal = deviation <= _ROUNDING * mean.abs()
    return torch.where(equal, 0.0, (scores - mean) / deviation.clamp(min=1e-300))


def head_scores(
    importance: torch.Tensor, heads: int, head_dim: int, *, square: bool
) -> torch.Tensor:
    """Mean of the normalised channel scores of each head.

    Args:
        importance: ``(layers, heads * head_dim)``.
        heads: Query heads.
        head_dim: Channels per head.
        square: Square channel scores before normalising, as the precursor does.

    Returns:
        ``(layers, heads)``.
    """
    normalised = standardise(importance.square() if square else importance)
    return normalised.reshape(-1, heads, head_dim).mean(dim=2)


def normalised(
    importance: Mapping[Kind, torch.Tensor], anatomy: Anatomy, *, square: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of heads and of neurons.

    Args:
        importance: By kind ``(blocks, channels)``, of :func:`channel_importance`.
        anatomy: Sizes of the model.
        square: See :func:`head_scores`.

    Returns:
        ``(blocks, heads)`` and ``(blocks, neurons)`` float64.
    """
    attention, mlp = importance["attention"], importance["mlp"]
    heads = head_scores(attention, anatomy.heads, anatomy.head_dim, square=square)
    return heads.numpy(), standardise(mlp).numpy()


def unit_scores(
    statistics: ChannelStatistics,
    column_norms: Mapping[Kind, torch.Tensor],
    index: UnitIndex,
    *,
    statistic: str = "variance",
    square_attention: bool = True,
) -> NDArray[np.float64]:
    """Normalised scores of all units in the flat order.

    Args:
        statistics: Over one calibration set.
        column_norms: Squared column norms of the output projections, by kind.
        index: The unit order.
        statistic: ``variance`` or ``flap``.
        square_attention: See :func:`head_scores`.

    Returns:
        ``(units,)`` float64.
    """
    importance = {
        kind: channel_importance(stats.dispersion(statistic), column_norms[kind])
        for kind, stats in statistics.by_kind.items()
    }
    return index.flatten(*normalised(importance, index.anatomy, square=square_attention))


def unit_shifts(
    safety: ChannelStatistics,
    utility: ChannelStatistics,
    column_norms: Mapping[Kind, torch.Tensor],
    index: UnitIndex,
    *,
    square_attention: bool,
) -> NDArray[np.float64]:
    """How far each unit's mean moves between the two calibration sets, scored as dispersion is.

    The squared difference of a channel's two means takes the place of its variance: what pruning
    it to the other set's mean moves the block's output by, squared. Not in the paper.

    Args:
        safety: Over the safety set.
        utility: Over the utility set.
        column_norms: Squared column norms of the output projections, by kind.
        index: The unit order.
        square_attention: See :func:`head_scores`.

    Returns:
        ``(units,)`` float64, in the flat order.
    """
    moved = {
        kind: channel_importance(
            (safety.by_kind[kind].mean - stats.mean).square(), column_norms[kind]
        )
        for kind, stats in utility.by_kind.items()
    }
    return index.flatten(*normalised(moved, index.anatomy, square=square_attention))


def unit_norms(
    column_norms: Mapping[Kind, torch.Tensor], index: UnitIndex, *, square_attention: bool = True
) -> NDArray[np.float64]:
    """How large the weights behind each unit are, scored as dispersion is.

    What the score is if every channel varies alike: its other factor, ||W^B_:,j||_2^2, alone. Not
    in the paper.

    Args:
        column_norms: Squared column norms of the output projections, by kind.
        index: The unit order.
        square_attention: See :func:`head_scores`.

    Returns:
        ``(units,)`` float64, in the flat order.
    """
    norms = {kind: norm.double() for kind, norm in column_norms.items()}
    return index.flatten(*normalised(norms, index.anatomy, square=square_attention))
