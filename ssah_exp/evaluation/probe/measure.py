"""Every request with every opening, reduced to distances batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ssah_exp.data.batching import longest_first
from ssah_exp.evaluation.probe.distances import between
from ssah_exp.evaluation.probe.names import forms, variants
from ssah_exp.evaluation.probe.openings import Opening
from ssah_exp.evaluation.probe.states import Continuation, Prefilled, Reader, reading
from ssah_exp.models.load import LoadedModel

_FILE = "probe.safetensors"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        steps: Generated tokens after which states are compared, ascending.
        distances: Names of distances.
        same_tokens: Continue every input with the bare request's continuation instead of its own
            likeliest one: texts then differ in the opening alone.
        batch_size: Requests per forward pass; changes nothing beyond rounding.
    """

    steps: tuple[int, ...]
    distances: tuple[str, ...]
    same_tokens: bool
    batch_size: int


@dataclass(frozen=True)
class ProbeDistances:
    """Distances and continuations of one model.

    Attributes:
        distances: ``cosine/raw`` and so on -> distances to the bare request's continuation,
            ``(requests, openings, steps, depth)`` float32; NaN where the distance is not defined.
        tokens: ``(requests, 1 + openings, longest step)`` int64 continuations; the bare request's
            comes first.
    """

    distances: dict[str, torch.Tensor]
    tokens: torch.Tensor

    def save(self, folder: Path) -> None:
        """Write one safetensors file."""
        save_file({**self.distances, "tokens": self.tokens}, folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> ProbeDistances:
        """Undo :meth:`save`."""
        content = load_file(folder / _FILE)
        tokens = content.pop("tokens")
        return cls(content, tokens)


def measure(
    loaded: LoadedModel,
    prompts: Sequence[tuple[int, ...]],
    openings: Sequence[Opening],
    plan: Plan,
    advance: Callable[[int], None] = lambda done: None,
) -> ProbeDistances:
    """Continue every request bare and after every opening, and compare.

    Each request is read once; each opening goes on from a copy of its cache.

    Args:
        loaded: The model.
        prompts: Token ids of the requests, in any order.
        openings: Each with token ids for all requests, in the same order.
        plan: Steps, distances, batches.
        advance: Called with the number of requests just done.
    """
    rows: dict[int, list[torch.Tensor]] = {}
    with reading(loaded) as reader:
        for batch in longest_first(prompts, plan.batch_size):
            standing = reader.read([prompts[index] for index in batch])
            parts = _measure_batch(reader, standing, batch, openings, plan)
            for at, index in enumerate(batch):
                rows[index] = [part[at] for part in parts]
            advance(len(batch))
    columns = zip(*(rows[index] for index in range(len(prompts))), strict=True)
    tokens, *distances = (torch.stack(column) for column in columns)
    return ProbeDistances(dict(zip(forms(plan.distances), distances, strict=True)), tokens)


def end_states(
    loaded: LoadedModel, prompts: Sequence[tuple[int, ...]], batch_size: int
) -> torch.Tensor:
    """States at the last position of every prompt, ``(prompts, depth, hidden)`` float32."""
    rows: dict[int, torch.Tensor] = {}
    with reading(loaded) as reader:
        for batch in longest_first(prompts, batch_size):
            states = reader.read([prompts[index] for index in batch]).states
            rows.update(zip(batch, states, strict=True))
    return torch.stack([rows[index] for index in range(len(prompts))])


def _measure_batch(
    reader: Reader,
    standing: Prefilled,
    batch: Sequence[int],
    openings: Sequence[Opening],
    plan: Plan,
) -> list[torch.Tensor]:
    """Tokens and every distance of one batch; requests are the first dimension."""
    bare = reader.continue_greedily(standing, plan.steps)
    forced = bare.tokens if plan.same_tokens else None
    tokens: list[torch.Tensor] = [bare.tokens]
    compared: list[list[torch.Tensor]] = []
    for opening in openings:
        ids = torch.tensor([opening.ids[index] for index in batch])
        other = reader.continue_greedily(reader.read_on(standing, ids), plan.steps, forced)
        tokens.append(other.tokens)
        compared.append(_compare(bare, other, standing.states, plan))
    by_distance = [torch.stack(column, dim=1) for column in zip(*compared, strict=True)]
    return [torch.stack(tokens, dim=1), *by_distance]


def _compare(
    bare: Continuation, other: Continuation, content: torch.Tensor, plan: Plan
) -> list[torch.Tensor]:
    return [
        between(name, variant, bare.states, other.states, content).float()
        for name in plan.distances
        for variant in variants(name)
    ]
