"""What a model makes of tokens that stand before all others, and which ones it would put there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ssah_exp.errors import ModelError
from ssah_exp.models.caching import cache_argument
from ssah_exp.models.logits import hidden_states, token_logits
from ssah_exp.models.modes import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()
def keys_and_values(model: nn.Module, ids: Sequence[int]) -> torch.Tensor:
    """Keys and values of tokens at positions 0, 1, ..., as a cache holds them: keys rotated.

    Args:
        model: A causal language model; its mode does not matter and stays.
        ids: Token ids.

    Returns:
        ``(tokens, layers * 2 * key-value heads * head_dim)`` float32 on the host, per token the key
        and the value of each block in turn: PEFT's order.
    """
    from transformers import DynamicCache

    # Without a config: with one, sliding-window layers would drop what lies beyond the window.
    cache: Any = DynamicCache()
    decoder: Any = model.get_decoder()  # type: ignore[operator]
    rows = torch.tensor([list(ids)], device=_device(model))
    with evaluating(model):  # checkpointing in training mode would drop the cache
        decoder(input_ids=rows, use_cache=True, **{cache_argument(decoder): cache})
    # Each (1, heads, tokens, dim) -> (tokens, heads * dim)
    parts = [
        item[0].transpose(0, 1).flatten(1).float().cpu()
        for layer in cache.layers
        for item in (layer.keys, layer.values)
    ]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def own_words(model: nn.Module, count: int) -> list[int]:
    """What a model itself writes after its beginning-of-text token; this needs no tokenizer.

    Args:
        model: A causal language model; its mode does not matter and stays.
        count: Tokens, the first included.

    Returns:
        Ids: the beginning-of-text token, then greedily the likeliest, except for tokens that begin,
        end or pad a text.

    Raises:
        ModelError: The model names no beginning-of-text token.
    """
    ids = [beginning_of_text(model)]
    whole = cast("PreTrainedModel", model)
    never = sorted(_ends_and_pads(whole) | {*ids})
    with evaluating(model):
        while len(ids) < count:
            row = torch.tensor([ids], device=_device(model))
            hidden = hidden_states(whole, row, torch.ones_like(row))
            logits = token_logits(whole, hidden[0, -1])
            logits[never] = -torch.inf
            ids.append(int(logits.argmax()))
    return ids


def beginning_of_text(model: nn.Module) -> int:
    """Id of the token that begins a text.

    Raises:
        ModelError: The model's config names none.
    """
    found = getattr(model.config, "bos_token_id", None)
    if found is None:
        raise ModelError(
            "The model's config names no beginning-of-text token (bos_token_id) for a prefix to "
            "start from; give Prefix.start a list of token ids."
        )
    return int(found)


def vocabulary(model: nn.Module) -> int:
    """How many tokens a model has embeddings for."""
    rows: int = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    return rows


def _ends_and_pads(model: PreTrainedModel) -> set[int]:
    found: list[int | None] = []
    for config in (model.config, model.generation_config):
        for name in ("eos_token_id", "pad_token_id"):
            value = getattr(config, name, None)
            found += value if isinstance(value, list) else [value]
    return {int(item) for item in found if item is not None and item >= 0}


def _device(model: nn.Module) -> torch.device:
    """Where inputs go: to the embeddings."""
    device: torch.device = model.get_input_embeddings().weight.device  # type: ignore[operator]
    return device
