"""Perplexity of held-out text in non-overlapping windows (protocol section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ssah_exp import ranks
from ssah_exp.errors import DataError
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_losses
from ssah_exp.models.sharded import without_gradients
from ssah_exp.models.tokenizer import Speech

# More characters than tokens have on average in any text but blanks and rules.
_CHARACTERS = 16


def text_windows(
    speech: Speech, text: str, window: int, max_tokens: int | None = None, *, bos: bool = False
) -> torch.Tensor:
    """Cut a text into whole windows; the rest is dropped, as published.

    Args:
        speech: Tokenizer.
        text: Held-out text.
        window: Tokens per window.
        max_tokens: How many tokens of the text are used, from the first; None = all.
        bos: Begin every window with the beginning-of-text token, one of its ``window``. Else only
            the first has what the tokenizer puts there.

    Returns:
        ``(windows, window)`` int64.

    Raises:
        DataError: The text is shorter than one window, or there is no beginning-of-text token.
    """
    ids = _tokens(speech, text, bos)[:max_tokens]
    width = window - bos
    count = len(ids) // width
    if count == 0:
        raise DataError(
            f"The held-out text has {len(ids)} tokens, fewer than one window of {width}."
        )
    windows = torch.tensor(ids[: count * width]).reshape(count, width)
    if not bos:
        return windows
    begins = torch.full((count, 1), int(speech.tokenizer.bos_token_id))
    return torch.cat([begins, windows], dim=1)


def require_window(
    speech: Speech, text: str, window: int, max_tokens: int | None = None, *, bos: bool = False
) -> None:
    """Refuse what :func:`text_windows` would, without cutting a long text up.

    Raises:
        DataError: As :func:`text_windows`.
    """
    beginning = text[: _CHARACTERS * window]
    if len(_tokens(speech, beginning, bos)[:max_tokens]) < window - bos:
        text_windows(speech, text, window, max_tokens, bos=bos)


def _tokens(speech: Speech, text: str, bos: bool) -> list[int]:
    if bos and speech.tokenizer.bos_token_id is None:
        raise DataError(
            "Windows of text cannot begin with the beginning-of-text token, which the tokenizer "
            "lacks: evaluation.perplexity.bos=false leaves it out."
        )
    # Tokenising a long text in one call is intended; the tokenizer would warn about that.
    return list(speech.tokenizer(text, add_special_tokens=not bos, verbose=False).input_ids)


def window_losses(
    loaded: LoadedModel,
    windows: torch.Tensor,
    batch_size: int,
    advance: Callable[[int], None] = lambda done: None,
) -> list[float]:
    """Mean negative log-likelihood of each window, in nats per token; split over the ranks.

    The first token of a window has nothing before it and is not counted.

    Args:
        loaded: The model.
        windows: ``(windows, window)`` int64.
        batch_size: Windows per forward pass.
        advance: Called with the number of windows just done.

    Returns:
        One value per window; perplexity is the exponential of their mean.
    """
    batches = torch.split(windows, batch_size)
    mine: dict[int, list[float]] = {}
    for number in ranks.dealt(len(batches)):
        # A turn without a batch counts for nothing, but sharded models compute only together.
        batch = batches[number or 0]
        ids = batch.to(loaded.device)
        ones = torch.ones_like(ids)
        with without_gradients(loaded.model):
            counted = token_losses(loaded.model, ids, ones, ones.bool())
        if number is not None:
            mine[number] = counted.reshape(len(batch), -1).double().mean(dim=1).tolist()
            advance(sum(len(item) for item in batches[number : number + ranks.count()]))
    every = {number: values for part in ranks.everyones(mine) for number, values in part.items()}
    return [value for number in range(len(batches)) for value in every[number]]
