"""DPO: pairs of answers with their log-probabilities under the model before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from ssah_exp.data.pair_batches import CollatePairs, PairBatch
from ssah_exp.data.preferences import EncodedPair
from ssah_exp.models.load import LoadedModel
from ssah_exp.training.objectives import preference_loss, sequence_log_probabilities

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ReferencedPair:
    """A pair with its answers' log-probabilities, in nats, under the model before training."""

    pair: EncodedPair
    chosen: float
    rejected: float


@dataclass(frozen=True)
class ReferencedBatch:
    """B pairs.

    Attributes:
        pairs: Their tokens.
        reference: ``(2B,)`` float32 log-probabilities before training, chosen answers first.
    """

    pairs: PairBatch
    reference: torch.Tensor

    def to(self, device: torch.device) -> ReferencedBatch:
        """Move every tensor."""
        return ReferencedBatch(self.pairs.to(device), self.reference.to(device))

    def pick(self, pairs: torch.Tensor) -> ReferencedBatch:
        """Some of the pairs, by number: ``(k,)`` int64."""
        rows = torch.cat([pairs, pairs + self.pairs.count])
        return ReferencedBatch(PairBatch(self.pairs.conversations.rows(rows)), self.reference[rows])


@dataclass(frozen=True)
class PreferenceObjective:
    """DPO (arXiv 2305.18290, equation 7), averaged over the batch's pairs."""

    beta: float

    def loss(self, model: PreTrainedModel, batch: ReferencedBatch) -> torch.Tensor:
        """A scalar float32."""
        values = sequence_log_probabilities(model, batch.pairs.conversations)
        chosen, rejected = batch.pairs.split(values)
        reference = batch.pairs.split(batch.reference)
        return preference_loss(chosen, rejected, *reference, self.beta).mean()

    def size(self, batch: ReferencedBatch) -> int:
        """Its pairs."""
        return batch.pairs.count

    def part(self, batch: ReferencedBatch, rank: int, ranks: int) -> tuple[ReferencedBatch, float]:
        """Every ``ranks``-th pair; pairs weigh the same."""
        count = batch.pairs.count
        mine = list(range(rank, count, ranks))
        chosen = torch.tensor(mine or [0], device=batch.reference.device)
        return batch.pick(chosen), len(mine) * ranks / count


@torch.no_grad()
def with_reference(
    loaded: LoadedModel, pairs: Sequence[EncodedPair], batch_size: int
) -> list[ReferencedPair]:
    """Compute every answer's log-probability under the model, before it is trained."""
    collate, referenced = CollatePairs(loaded.speech.pad_id), list[ReferencedPair]()
    for start in range(0, len(pairs), batch_size):
        some = pairs[start : start + batch_size]
        batch = collate(some).to(loaded.device)
        values = sequence_log_probabilities(loaded.model, batch.conversations)
        chosen, rejected = batch.split(values)
        referenced += [
            ReferencedPair(pair, float(good), float(bad))
            for pair, good, bad in zip(some, chosen, rejected, strict=True)
        ]
    return referenced


def preference_loader(
    pairs: Sequence[ReferencedPair], pad_id: int, batch_size: int, seed: int
) -> DataLoader[ReferencedBatch]:
    """Random batches, drawn anew each epoch; the order follows from ``seed`` alone."""
    collate = CollatePairs(pad_id)

    def referenced(items: Sequence[ReferencedPair]) -> ReferencedBatch:
        reference = [item.chosen for item in items] + [item.rejected for item in items]
        return ReferencedBatch(collate([item.pair for item in items]), torch.tensor(reference))

    return DataLoader(
        pairs,  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=referenced,
    )
