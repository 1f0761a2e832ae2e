"""What training minimises: next-token loss over responses, or DPO over pairs of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F

from ssah_exp.data.loaders import Batch
from ssah_exp.models.logits import token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Objective(Protocol):
    """Something to minimise."""

    def loss(self, model: PreTrainedModel, batch: Any) -> torch.Tensor:
        """A scalar: a mean over what :meth:`size` counts."""

    def size(self, batch: Any) -> int:
        """What a batch counts for beside others of its optimizer step."""

    def part(self, batch: Any, rank: int, ranks: int) -> tuple[Any, float]:
        """One rank's rows of a batch, and the weight of their loss.

        The mean over ranks of weight x loss is the loss over the whole batch. A rank without rows
        gets some row of the batch with weight 0.
        """


@dataclass(frozen=True)
class SupervisedObjective:
    """Mean negative log-likelihood over the batch's response tokens, in nats."""

    def loss(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """A scalar float32."""
        return token_losses(
            model, batch.input_ids, batch.attention_mask, batch.response_mask
        ).mean()

    def size(self, batch: Batch) -> int:
        """Its response tokens; the first token of a row has no loss."""
        return int(batch.response_mask[:, 1:].sum())

    def part(self, batch: Batch, rank: int, ranks: int) -> tuple[Batch, float]:
        """Every ``ranks``-th row, weighted by its response tokens; the first token has no loss."""
        tokens = batch.response_mask[:, 1:].sum(dim=1)
        mine = tokens[rank::ranks].sum()
        if not mine:
            longest = int(tokens.argmax())
            return batch.rows(slice(longest, longest + 1)), 0.0
        return batch.rows(slice(rank, None, ranks)), float(mine * ranks / tokens.sum())


def sequence_log_probabilities(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Log-probability of each response given its prompt.

    Returns:
        ``(B,)`` float32, nats summed over the response's tokens.
    """
    counted = batch.response_mask.clone()
    counted[:, 0] = False  # nothing precedes the first token
    losses = token_losses(model, batch.input_ids, batch.attention_mask, counted)
    rows = counted.nonzero()[:, 0]
    total = torch.zeros(len(counted), dtype=losses.dtype, device=losses.device)
    return -total.index_add(0, rows, losses)


def preference_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """DPO (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    Args:
        chosen: ``(B,)`` log-probabilities of chosen answers under the model.
        rejected: The same of rejected answers.
        reference_chosen: ``(B,)`` under the model as it was before training.
        reference_rejected: The same of rejected answers.
        beta: How strongly the model is held to the reference.

    Returns:
        ``(B,)`` losses.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    return -F.logsigmoid(beta * margin)
