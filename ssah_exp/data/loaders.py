"""Batches of encoded conversations, and the loaders that serve them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ssah_exp import ranks
from ssah_exp.data.batching import Order
from ssah_exp.data.chat import Encoded


@dataclass(frozen=True)
class Batch:
    """Right-padded conversations.

    Attributes:
        input_ids: ``(B, T)`` int64.
        attention_mask: ``(B, T)`` int64, 1 = token.
        response_mask: ``(B, T)`` bool, true on response tokens.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    response_mask: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Move every tensor."""
        return Batch(
            self.input_ids.to(device), self.attention_mask.to(device), self.response_mask.to(device)
        )

    def rows(self, chosen: slice | torch.Tensor) -> Batch:
        """Some conversations, without padding that only the others needed."""
        longest = int(self.attention_mask[chosen].sum(dim=1).max())
        return Batch(
            self.input_ids[chosen, :longest],
            self.attention_mask[chosen, :longest],
            self.response_mask[chosen, :longest],
        )


@dataclass(frozen=True)
class Collate:
    """Pads a list of conversations to a :class:`Batch`."""

    pad_id: int

    def __call__(self, items: Sequence[Encoded]) -> Batch:
        """Pad on the right."""
        length = max(len(item.input_ids) for item in items)
        input_ids = torch.full((len(items), length), self.pad_id, dtype=torch.int64)
        attention_mask = torch.zeros((len(items), length), dtype=torch.int64)
        response_mask = torch.zeros((len(items), length), dtype=torch.bool)
        for row, item in enumerate(items):
            size = len(item.input_ids)
            input_ids[row, :size] = torch.tensor(item.input_ids)
            attention_mask[row, :size] = 1
            response_mask[row, item.response_start : size] = True
        return Batch(input_ids, attention_mask, response_mask)


def training_loader(
    examples: Sequence[Encoded], pad_id: int, batch_size: int, seed: int
) -> DataLoader[Batch]:
    """Random batches, drawn anew each epoch; the order follows from ``seed`` alone.

    Sorting them by length would save padding, but refusals are short: batches of one class made
    the aligned model refuse far more harmless requests (docs/alignment.md).
    """
    return DataLoader(
        examples,  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=Collate(pad_id),
    )


class CalibrationData(pl.LightningDataModule):
    """Calibration sets, one dataloader each.

    Args:
        pad_id: Token id for padding.
        batch_size: Conversations per batch.
        calibration: The sets, each with the batches it is computed in
            (:func:`~ssah_exp.data.batching.like_lengths`).
    """

    def __init__(
        self, pad_id: int, batch_size: int, calibration: Sequence[tuple[Sequence[Encoded], Order]]
    ) -> None:
        super().__init__()
        self._collate = Collate(pad_id)
        self._batch_size = batch_size
        self._calibration = calibration

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per set over this rank's batches (:func:`dealt_examples`)."""
        return [
            DataLoader(
                [examples[at] for at in dealt_examples(order)],  # type: ignore[arg-type]
                batch_size=self._batch_size,
                collate_fn=self._collate,
            )
            for examples, order in self._calibration
        ]


def dealt_examples(order: Order) -> list[int]:
    """Positions of this rank's examples; its batches are some of those a single rank would make.

    Every rank has equally many batches; a rank that has none left repeats the first, and that turn
    must not be counted (:func:`ssah_exp.ranks.dealt`). A short batch is always last.
    """
    return [at for number in ranks.dealt(len(order)) for at in order[number or 0]]
