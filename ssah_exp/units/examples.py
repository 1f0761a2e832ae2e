"""Each calibration example's own moments, and the statistics of any resampling of them.

Cache entries hold statistics pooled over examples. Where the question is how far those depend on
the examples, the moments are kept in memory, for that analysis only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ssah_exp.errors import UnitError
from ssah_exp.models.sizes import KINDS, Kind
from ssah_exp.units.moments import Moments, joined


@dataclass(frozen=True)
class ExampleMoments:
    """What resampling needs of one calibration set.

    Variances do not change when all values move by a constant, so means are kept as deviations
    from the whole set's mean: sums of their squares then lose no digits.

    Attributes:
        count: ``(E,)`` float64, counted tokens of each example, at least 1.
        first: By kind ``(layers, E, channels)`` float64: tokens times the deviation of the
            example's mean.
        second: By kind ``(layers, E, channels)`` float64: squares summed about the set's mean.
    """

    count: torch.Tensor
    first: dict[Kind, torch.Tensor]
    second: dict[Kind, torch.Tensor]

    @property
    def examples(self) -> int:
        """Examples with at least one counted token."""
        return int(self.count.numel())

    @classmethod
    def of(
        cls, moments: Mapping[tuple[Kind, int], Sequence[Moments]], layers: int
    ) -> ExampleMoments:
        """Join the batches of one pass.

        Args:
            moments: ``(kind, layer)`` -> per batch, leading dimension = examples; float64.
            layers: Blocks of the model.
        """
        first: dict[Kind, torch.Tensor] = {}
        second: dict[Kind, torch.Tensor] = {}
        for kind in KINDS:
            pairs = [_centred(_counted(moments[kind, layer])) for layer in range(layers)]
            first[kind] = torch.stack([pair[0] for pair in pairs])
            second[kind] = torch.stack([pair[1] for pair in pairs])
        return cls(_counted(moments["attention", 0]).count, first, second)

    def variance(self, weights: torch.Tensor) -> dict[Kind, torch.Tensor]:
        r"""Unbiased variance over the tokens of each resample.

        With w_e the number of times example e is drawn, n_e its tokens, d_e its mean's deviation
        and N = sum w_e n_e, Chan's formula (Chan et al. 1979) summed over examples is

        .. math:: M_2 = \sum_e w_e (m_{2,e} + n_e d_e^2) - (\sum_e w_e n_e d_e)^2 / N

        so that all resamples take two matrix products per kind.

        Args:
            weights: ``(R, E)``, times each example is drawn; any number type.

        Returns:
            By kind ``(R, layers, channels)`` float64.

        Raises:
            UnitError: A resample of fewer than two tokens, or weights of another set.
        """
        if weights.dim() != 2 or weights.shape[1] != self.examples:
            raise UnitError(
                f"Weights of shape {tuple(weights.shape)} do not fit {self.examples} examples."
            )
        drawn = weights.to(torch.float64)
        tokens = drawn @ self.count
        if bool((tokens < 2).any()):
            raise UnitError("A resample holds fewer than two tokens; a variance needs two.")
        total = tokens.view(-1, 1, 1)
        found: dict[Kind, torch.Tensor] = {}
        for kind in KINDS:
            sums = torch.matmul(drawn, self.first[kind]).transpose(0, 1)
            squares = torch.matmul(drawn, self.second[kind]).transpose(0, 1)
            found[kind] = (squares - sums.square() / total).clamp(min=0) / (total - 1)
        return found


def _counted(batches: Sequence[Moments]) -> Moments:
    """One leading dimension; examples without counted tokens are left out."""
    whole = joined(batches)
    seen = whole.count > 0
    return Moments(whole.count[seen], whole.mean[seen], whole.m2[seen])


def _centred(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """First and second moments about the mean over all tokens, ``(E, C)`` each."""
    count = moments.count.unsqueeze(-1)
    deviation = moments.mean - (count * moments.mean).sum(dim=0) / moments.count.sum()
    return count * deviation, moments.m2 + count * deviation.square()
