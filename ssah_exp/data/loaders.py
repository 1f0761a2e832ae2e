"""Batches of encoded conversations, and the Lightning DataModule that serves them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler

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


class LengthGroupedBatches(Sampler[list[int]]):
    """Random batches of similar length: shuffled, sorted within windows, batches shuffled.

    Padding is computed over, so batches of like length save most of it; the order still depends
    on the seed and the epoch alone. Windows of one batch make plain random batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, window: int) -> None:
        self.lengths = list(lengths)
        self.window = window
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of indices for the current epoch."""
        draw = random.Random(f"{self.seed}-{self.epoch}")
        order = list(range(len(self.lengths)))
        draw.shuffle(order)
        window = self.batch_size * self.window
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            group = sorted(order[start : start + window], key=lambda index: self.lengths[index])
            batches += [
                group[at : at + self.batch_size] for at in range(0, len(group), self.batch_size)
            ]
        draw.shuffle(batches)
        yield from batches

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.lengths) // self.batch_size)


class ConversationData(pl.LightningDataModule):
    """Training conversations and calibration sets.

    Args:
        pad_id: Token id for padding.
        batch_size: Conversations per batch.
        seed: Decides the training order.
        train: Conversations to train on.
        calibration: Sets to run through in order, one dataloader each.
        length_window: Batches per window within which training batches are sorted by length.
    """

    def __init__(
        self,
        pad_id: int,
        batch_size: int,
        seed: int,
        train: Sequence[Encoded] = (),
        calibration: Sequence[Sequence[Encoded]] = (),
        length_window: int = 16,
    ) -> None:
        super().__init__()
        self._collate = Collate(pad_id)
        self._batch_size = batch_size
        self._seed = seed
        self._train = train
        self._calibration = calibration
        self._length_window = length_window

    def train_dataloader(self) -> DataLoader[Batch]:
        """Length-grouped random batches."""
        lengths = [len(item.input_ids) for item in self._train]
        sampler = LengthGroupedBatches(
            lengths, self._batch_size, self._seed, self._length_window
        )
        return DataLoader(
            self._train,  # type: ignore[arg-type]
            batch_sampler=sampler,
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
