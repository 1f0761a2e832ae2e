"""Hidden states of greedy continuations, at the last position and at every depth.

Depth 0 is what enters the first block (the embedding), depth d what leaves block d, before the
final norm.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from ssah_exp.data.batching import left_padded
from ssah_exp.models.anatomy import blocks, final_norm
from ssah_exp.models.caching import cache_argument
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_logits


@contextmanager
def last_states(model: nn.Module) -> Iterator[Callable[[], torch.Tensor]]:
    """Keep the last position of the states between blocks; hooks are removed whatever happens.

    Yields:
        A function that returns the states of the latest forward pass, ``(B, depth, hidden)``
        float32 on CPU, with depth = blocks + 1.
    """
    seen: dict[int, torch.Tensor] = {}

    def keeper(depth: int) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            # A copy: a view would keep the whole sequence in memory.
            seen[depth] = inputs[0][:, -1].detach().float().cpu().clone()

        return keep

    stations = [*blocks(model), final_norm(model)]
    with ExitStack() as stack:
        for depth, module in enumerate(stations):
            stack.callback(module.register_forward_pre_hook(keeper(depth)).remove)
        yield lambda: torch.stack([seen[depth] for depth in range(len(stations))], dim=1)


@dataclass(frozen=True)
class Continuation:
    """What followed a batch of inputs.

    Attributes:
        tokens: ``(B, longest step)`` int64, greedy or forced, not ended by stop tokens.
        states: ``(B, steps, depth, hidden)`` float32: for each step k, at the position of token k.
    """

    tokens: torch.Tensor
    states: torch.Tensor


@dataclass(frozen=True)
class Prefilled:
    """A batch of inputs that the model has read.

    Attributes:
        cache: Keys and values.
        mask: ``(B, T)`` int64, 0 = padding.
        logits: ``(B, vocabulary)`` float32 logits of the next token, on the CPU.
        states: ``(B, depth, hidden)`` float32 at the last position.
    """

    cache: DynamicCache
    mask: torch.Tensor
    logits: torch.Tensor
    states: torch.Tensor


class Reader:
    """Runs a model forward over a batch, token by token if asked, keeping last states.

    Args:
        loaded: The model.
        latest: From :func:`last_states` of that model.
    """

    def __init__(self, loaded: LoadedModel, latest: Callable[[], torch.Tensor]) -> None:
        self._loaded = loaded
        self._latest = latest
        self._decoder = loaded.model.get_decoder()  # type: ignore[no-untyped-call]

    def read(self, prompts: Sequence[Sequence[int]]) -> Prefilled:
        """Read prompts of any length, left-padded."""
        ids, mask = left_padded(prompts, self._loaded.speech.pad_id)
        return self._forward(DynamicCache(config=self._loaded.model.config), ids, mask)

    def read_on(self, standing: Prefilled, ids: torch.Tensor) -> Prefilled:
        """Read ``(B, n)`` more tokens; ``standing`` stays as it is."""
        mask = torch.cat([standing.mask, torch.ones_like(ids)], dim=1)
        return self._forward(copy.deepcopy(standing.cache), ids, mask)

    def continue_greedily(
        self, standing: Prefilled, steps: Sequence[int], forced: torch.Tensor | None = None
    ) -> Continuation:
        """Go on for ``max(steps)`` tokens, the likeliest one each time.

        Args:
            standing: Where from; it stays as it is.
            steps: Numbers of tokens after which states are kept, ascending.
            forced: ``(B, max(steps))`` tokens to read instead of the likeliest ones.
        """
        cache, mask, logits = copy.deepcopy(standing.cache), standing.mask, standing.logits
        tokens: list[torch.Tensor] = []
        kept: list[torch.Tensor] = []
        for step in range(1, max(steps) + 1):
            chosen = logits.argmax(dim=-1) if forced is None else forced[:, step - 1]
            tokens.append(chosen)
            mask = torch.cat([mask, torch.ones_like(chosen)[:, None]], dim=1)
            now = self._forward(cache, chosen[:, None], mask)
            logits = now.logits
            if step in steps:
                kept.append(now.states)
        return Continuation(torch.stack(tokens, dim=1), torch.stack(kept, dim=1))

    def _forward(self, cache: DynamicCache, ids: torch.Tensor, mask: torch.Tensor) -> Prefilled:
        """Read ``(B, n)`` tokens after those that ``cache`` holds; the cache grows by them."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        device = self._loaded.device
        output = self._decoder(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            use_cache=True,
            **{cache_argument(self._decoder): cache},
        )
        logits = token_logits(self._loaded.model, output.last_hidden_state[:, -1]).cpu()
        return Prefilled(cache, mask, logits, self._latest())


@contextmanager
def reading(loaded: LoadedModel) -> Iterator[Reader]:
    """A :class:`Reader` without gradients; its hooks are gone afterwards."""
    with torch.inference_mode(), last_states(loaded.model) as latest:
        yield Reader(loaded, latest)
