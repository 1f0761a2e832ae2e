"""Batches of encoded conversations, and the Lightning DataModule that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

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


class ConversationData(pl.LightningDataModule):
    """Training conversations and calibration sets.

    Args:
        pad_id: Token id for padding.
        batch_size: Conversations per batch.
        seed: Decides the training order.
        train: Conversations to train on.
        calibration: Sets to run through in order, one dataloader each.
    """

    def __init__(
        self,
        pad_id: int,
        batch_size: int,
        seed: int,
        train: Sequence[Encoded] = (),
        calibration: Sequence[Sequence[Encoded]] = (),
    ) -> None:
        super().__init__()
        self._collate = Collate(pad_id)
        self._batch_size = batch_size
        self._seed = seed
        self._train = train
        self._calibration = calibration

    def train_dataloader(self) -> DataLoader[Batch]:
        """Random batches, anew each epoch.

        Sorting them by length would save padding, but refusals are short: batches of one class
        made the aligned model refuse far more harmless requests (docs/alignment.md).
        """
        return DataLoader(
            self._train,  # type: ignore[arg-type]
            batch_size=self._batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(self._seed),
            collate_fn=self._collate,
        )

    def predict_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per calibration set, in data order: the `flap` statistic depends on it."""
        return [
            DataLoader(
                examples,  # type: ignore[arg-type]
                batch_size=self._batch_size,
                collate_fn=self._collate,
            )
            for examples in self._calibration
        ]
