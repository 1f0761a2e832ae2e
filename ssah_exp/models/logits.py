"""Hidden states and, separately, logits: the vocabulary projection is paid only where needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ssah_exp.models.sharded import through_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def hidden_states(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    """Run the decoder without its LM head.

    Args:
        model: A causal language model.
        input_ids: ``(B, T)`` int64.
        attention_mask: ``(B, T)``, 1 = token, 0 = padding.

    Returns:
        ``(B, T, hidden)`` after the final norm, in the model's dtype.
    """
    return through_model(model, lambda: _decoded(model, input_ids, attention_mask))


def _decoded(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> torch.Tensor:
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    output = decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    hidden: torch.Tensor = output.last_hidden_state
    return hidden


def token_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Project hidden states to the vocabulary, as the model's own forward does.

    Args:
        model: A causal language model.
        hidden: ``(..., hidden)``.

    Returns:
        ``(..., vocabulary)`` float32 logits, soft-capped where the config says so (Gemma 2).
    """
    logits: torch.Tensor = _head(model)(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


def _head(model: PreTrainedModel) -> torch.nn.Module:
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(head, torch.nn.Module)
    return head


def token_losses(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    counted: torch.Tensor,
) -> torch.Tensor:
    """Negative log-likelihood of the counted tokens given what precedes them.

    Args:
        model: A causal language model.
        input_ids: ``(B, T)`` int64.
        attention_mask: ``(B, T)``.
        counted: ``(B, T)`` bool; the first position of a row is never counted.

    Returns:
        ``(counted tokens,)`` float32, in nats, row by row.
    """

    def losses() -> torch.Tensor:
        # A model on several devices leaves its results where its last block is.
        hidden = _decoded(model, input_ids, attention_mask).to(input_ids.device)
        predicted = counted[:, 1:]
        logits = token_logits(model, hidden[:, :-1][predicted]).to(input_ids.device)
        targets = input_ids[:, 1:][predicted]
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")

    return through_model(model, losses)
