"""Perplexity of held-out text in non-overlapping windows (protocol section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ssah_exp.errors import DataError
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_losses
from ssah_exp.models.tokenizer import Speech


def text_windows(
    speech: Speech, text: str, window: int, max_tokens: int | None = None
) -> torch.Tensor:
    """Cut a text into whole windows; the rest is dropped, as published.

    Args:
        speech: Tokenizer.
        text: Held-out text.
        window: Tokens.
        max_tokens: How much of the text is used; None = all.

    Returns:
        ``(windows, window)`` int64.

    Raises:
        DataError: The text is shorter than one window.
    """
    # One call over a long text is what is wanted here; the tokenizer warns of its length.
    ids = speech.tokenizer(text, verbose=False).input_ids
    if max_tokens is not None:
        ids = ids[:max_tokens]
    count = len(ids) // window
    if count == 0:
        raise DataError(
            f"The held-out text has {len(ids)} tokens, fewer than one window of {window}."
        )
    return torch.tensor(ids[: count * window]).reshape(count, window)


@torch.inference_mode()
def window_losses(
    loaded: LoadedModel,
    windows: torch.Tensor,
    batch_size: int,
    advance: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Mean negative log-likelihood of each window, in nats per token.

    The first token of a window has nothing before it and is not counted.

    Args:
        loaded: The model.
        windows: ``(windows, window)`` int64.
        batch_size: Windows per forward pass.
        advance: Called with the number of windows just done.

    Returns:
        One value per window; perplexity is the exponential of their mean.
    """
    losses: list[float] = []
    for start in range(0, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        ids = batch.to(loaded.device)
        ones = torch.ones_like(ids)
        counted = token_losses(loaded.model, ids, ones, ones.bool())
        losses += counted.reshape(len(batch), -1).double().mean(dim=1).tolist()
        advance(len(batch))
    return losses
