"""Batches of preference pairs: both answers of a pair go through the model in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ssah_exp.data.loaders import Batch, Collate
from ssah_exp.data.preferences import EncodedPair


@dataclass(frozen=True)
class PairBatch:
    """B pairs.

    Attributes:
        conversations: ``(2B, T)``, right-padded: rows 0 to B-1 hold the chosen answers, rows B to
            2B-1 the rejected ones, in the same order.
    """

    conversations: Batch

    @property
    def count(self) -> int:
        """B."""
        return self.conversations.input_ids.shape[0] // 2

    def split(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Divide one value per row into those of chosen and of rejected answers.

        Args:
            values: ``(2B, ...)`` of any dtype.

        Returns:
            Chosen and rejected, ``(B, ...)`` each.

        Raises:
            ValueError: ``values`` does not have 2B rows.
        """
        if values.shape[0] != 2 * self.count:
            raise ValueError(f"{values.shape[0]} values for {self.count} pairs.")
        return values[: self.count], values[self.count :]

    def to(self, device: torch.device) -> PairBatch:
        """Move every tensor."""
        return PairBatch(self.conversations.to(device))


@dataclass(frozen=True)
class CollatePairs:
    """Pads a list of pairs to a :class:`PairBatch`.

    Attributes:
        pad_id: Token id for padding.
    """

    pad_id: int

    def __call__(self, items: Sequence[EncodedPair]) -> PairBatch:
        """Stack chosen above rejected answers and pad on the right."""
        rows = [item.chosen for item in items] + [item.rejected for item in items]
        return PairBatch(Collate(self.pad_id)(rows))
