"""Greedy coordinate gradient: Zou et al. 2023, arXiv 2307.15043, algorithm 1, for one request.

A suffix of fixed length is changed one token at a time: the gradient of the target's loss names
promising replacements for every position, a random sample of them is tried, the best one stays.

Our own implementation. nanogcg 0.3.0 demands transformers below 4.48, and with 5.24 its prefix
cache fails; it also knows no prompt style but the chat template, and sets global random state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssah_exp.config.ranges import at_least
from ssah_exp.data.batching import common_beginning
from ssah_exp.errors import ModelError
from ssah_exp.evaluation.attacks.base import Attack, Attempt, stream_of
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim
from ssah_exp.models.tokenizer import Speech

_TABLE_ROWS = 8192  # embeddings multiplied with the gradient at a time


@dataclass(kw_only=True)
class Gcg(Attack):
    """Searches a suffix for each request, against the model under attack itself.

    Attributes:
        target: Beginning of an answer to make likely; ``{request}`` stands for the request.
        initial: The suffix to start from; its length in tokens never changes.
        steps: Rounds of gradient, candidates and choice.
        candidates: Suffixes tried in a round.
        top_k: Replacements per position to draw from.
        batch_size: Candidates per forward pass; changes nothing beyond rounding.
    """

    target: str
    initial: str
    steps: int
    candidates: int
    top_k: int
    batch_size: int = 32
    _usable: tuple[object, NDArray[np.bool_]] | None = field(
        init=False, repr=False, compare=False, default=None
    )

    def __post_init__(self) -> None:
        """Refuse budgets that search nothing, and searches without an aim or a beginning."""
        self.refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        for key in ("target", "initial"):
            if not getattr(self, key).strip():
                yield f"{key} is blank."
        for key in ("steps", "candidates", "top_k", "batch_size"):
            yield from at_least(key, getattr(self, key), 1)

    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        """The request with the best suffix of all rounds, the initial one included."""
        draw = stream_of(seed, request)
        place = Place.of(victim, request, self.initial)
        beginning = self.target.replace("{request}", request.prompt)
        target = victim.encode_answer(beginning, request.style)
        usable = self._tokens(victim)
        now = best = place.start
        (first_loss,) = victim.losses([place.row(now)], target, 1)
        best_loss = first_loss
        for _ in range(self.steps):
            gradient = suffix_gradient(victim, place, now, target)
            tried = self._candidates(victim, place, now, gradient, usable, draw)
            if not tried:
                continue  # no candidate's text gives its tokens again: draw anew
            losses = victim.losses([place.row(ids) for ids in tried], target, self.batch_size)
            at = int(np.argmin(losses))
            now = tried[at]
            if losses[at] < best_loss:
                best, best_loss = now, losses[at]
        details = {"first_loss": first_loss, "best_loss": best_loss, "steps": self.steps}
        return [Attempt(place.text(victim.speech, best), details=details)]

    def _candidates(
        self,
        victim: Victim,
        place: Place,
        now: tuple[int, ...],
        gradient: torch.Tensor,
        usable: NDArray[np.bool_],
        draw: np.random.Generator,
    ) -> list[tuple[int, ...]]:
        """Distinct suffixes with one token replaced, whose text is tokenised to the same ids."""
        gradient[:, torch.from_numpy(~usable)] = float("inf")
        count = min(self.top_k, int(usable.sum()))
        promising = (-gradient).topk(count, dim=1).indices.numpy()  # (suffix, count)
        positions = draw.integers(len(now), size=self.candidates)
        choices = draw.integers(count, size=self.candidates)
        found: dict[tuple[int, ...], None] = {}
        for position, chosen in zip(positions, choices, strict=True):
            ids = (*now[:position], int(promising[position, chosen]), *now[position + 1 :])
            if ids != now and ids not in found and place.survives(victim, ids):
                found[ids] = None
        return list(found)

    def _tokens(self, victim: Victim) -> NDArray[np.bool_]:
        """``(vocabulary,)``: tokens that a person could type."""
        tokenizer = victim.speech.tokenizer
        if self._usable is None or self._usable[0] is not tokenizer:
            size = _embedding(victim).weight.shape[0]
            self._usable = (tokenizer, typeable(victim.speech, size))
        return self._usable[1]


@dataclass(frozen=True)
class Place:
    """Where the suffix stands among the tokens of a prompt.

    Attributes:
        request: The request; its prompt is the text before the suffix.
        before: Token ids before the suffix.
        start: Token ids of the initial suffix.
        after: Token ids after the suffix, empty in raw styles.
    """

    request: Request
    before: tuple[int, ...]
    start: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, victim: Victim, request: Request, initial: str) -> Place:
        """Find the suffix by comparing the prompt with and without it.

        Raises:
            ModelError: The tokenizer merges the suffix with what stands around it.
        """
        without = victim.encode(request.prompt, request)
        whole = victim.encode(f"{request.prompt} {initial.strip()}", request)
        head = common_beginning([without, whole])
        room = min(len(without), len(whole)) - head
        tail = min(common_beginning([without[::-1], whole[::-1]]), room)
        if head + tail != len(without) or len(whole) <= len(without):
            raise ModelError(
                f"The tokenizer merges the suffix {initial!r} with what stands around it; give "
                "another initial suffix."
            )
        cut = len(whole) - tail
        return cls(
            request,
            tuple(whole[:head]),
            tuple(whole[head:cut]),
            tuple(whole[cut:]),
        )

    def row(self, suffix: Sequence[int]) -> list[int]:
        """The prompt's token ids."""
        return [*self.before, *suffix, *self.after]

    def text(self, speech: Speech, suffix: Sequence[int]) -> str:
        """The user's turn."""
        return f"{self.request.prompt} {str(speech.tokenizer.decode(list(suffix))).strip()}"

    def survives(self, victim: Victim, suffix: Sequence[int]) -> bool:
        """Whether the text gives these very tokens: else what is put is not what was measured."""
        return victim.encode(self.text(victim.speech, suffix), self.request) == self.row(suffix)


def suffix_gradient(
    victim: Victim, place: Place, suffix: Sequence[int], target: Sequence[int]
) -> torch.Tensor:
    """Gradient of the target's mean loss with respect to the suffix's one-hot vectors.

    It is taken at the embedding's output, so that hooks, adapters and scaled embeddings are seen;
    one-hot vectors enter that output linearly.

    Args:
        victim: The model under attack.
        place: Where the suffix stands.
        suffix: Token ids.
        target: Token ids of the answer's beginning.

    Returns:
        ``(suffix, vocabulary)`` float32, on the CPU.
    """
    model, embedding = victim.loaded.model, _embedding(victim)
    leaves: list[torch.Tensor] = []

    def cut(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    row = [*place.row(suffix), *target]
    ids = torch.tensor([row], device=victim.loaded.device)
    with torch.enable_grad():
        handle = embedding.register_forward_hook(cut)
        try:
            logits = model(input_ids=ids, use_cache=False).logits[0]
        finally:
            handle.remove()
        predicted = logits[len(row) - len(target) - 1 : -1].float()
        loss = nn.functional.cross_entropy(predicted, ids[0, len(row) - len(target) :])
        (gradient,) = torch.autograd.grad(loss, leaves[0])
    start = len(place.before)
    wanted = gradient[0, start : start + len(suffix)]
    with torch.no_grad():
        rows = torch.arange(embedding.weight.shape[0], device=ids.device)
        parts = torch.split(rows, _TABLE_ROWS)
        by_token = [wanted @ embedding(part).to(wanted).T for part in parts]
    return torch.cat(by_token, dim=1).float().cpu()


def _embedding(victim: Victim) -> nn.Embedding:
    embedding = victim.loaded.model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    return embedding


def typeable(speech: Speech, size: int) -> NDArray[np.bool_]:
    """``(size,)`` bool: tokens of printable ASCII that are not special and not blank."""
    usable = np.zeros(size, dtype=bool)
    tokenizer = speech.tokenizer
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for token in range(min(size, len(tokenizer))):
        text = "" if token in special else str(tokenizer.decode([token]))
        usable[token] = bool(text.strip()) and text.isascii() and text.isprintable()
    return usable
