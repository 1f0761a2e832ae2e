"""A twin that is trained in shards, without ranks: what it learns gets back into the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from torch import nn

from ssah_exp.models.anatomy import blocks
from ssah_exp.training import sharding
from ssah_exp.training.sharding import ShardedTwin
from ssah_exp.training.tuned import Trainable
from tests import tiny


class Kept:
    """What an adapter would keep whole."""

    def __init__(self, *items: nn.Parameter) -> None:
        self.items = list(items)

    def kept_whole(self) -> list[nn.Parameter]:
        return self.items


def made(monkeypatch: pytest.MonkeyPatch, model: Any, *kept: nn.Parameter) -> ShardedTwin:
    """Made ready to be split, and not split."""

    def shard(twin: nn.Module, *_: object, before: Callable[[nn.Module], None]) -> None:
        for part in (*blocks(twin), twin):
            before(part)

    monkeypatch.setattr(sharding, "shard", shard)
    twin = ShardedTwin(model)
    twin.shard(cast(Any, None), cast(Trainable, Kept(*kept)))
    return twin


@pytest.mark.parametrize("family", ["llama_tied", "qwen2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trained", [True, False])
def test_what_it_learned_is_gathered_into_the_model(
    monkeypatch: pytest.MonkeyPatch, family: str, dtype: torch.dtype, trained: bool
) -> None:
    model = tiny.tiny_model(family, dtype=dtype)
    model.get_input_embeddings().requires_grad_(trained)
    own = dict(model.named_parameters())
    before = {name: item.detach().clone() for name, item in own.items()}
    twin = made(monkeypatch, model)
    assert not {*map(id, own.values())} & {*map(id, twin.model.parameters())}
    assert len([*twin.model.parameters()]) == len(own), "what is tied is still one weight"
    with torch.no_grad():
        for item in twin.model.parameters():
            item.add_(item.requires_grad)
    learned = {name: item.detach().to(dtype) for name, item in twin.model.named_parameters()}
    twin.gather()
    after = dict(model.named_parameters())
    for name, item in twin.model.named_parameters():
        assert item is own[name] is after[name]
        assert item.dtype == dtype
        assert torch.equal(item, learned[name]), name
        assert torch.equal(item, before[name]) != item.requires_grad, name


def test_what_every_rank_keeps_whole_gets_the_mean_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """FSDP exchanges nothing of it: every rank would train an adapter of its own."""
    first, second, unused = (nn.Parameter(torch.zeros(size)) for size in ((2, 3), (4,), (5,)))
    twin = made(monkeypatch, tiny.tiny_model("llama"), first, second, unused)
    calls: list[int] = []

    def average(tensors: Sequence[torch.Tensor]) -> None:
        calls.extend(item.numel() for item in tensors)
        for item in tensors:
            item += 100

    monkeypatch.setattr(sharding, "average_over_ranks", average)
    twin.average_gradients()
    assert calls == []
    first.grad, second.grad = torch.arange(6.0).reshape(2, 3), torch.arange(10.0, 14.0)
    twin.average_gradients()
    assert torch.equal(first.grad, torch.arange(100.0, 106.0).reshape(2, 3))
    assert torch.equal(second.grad, torch.arange(110.0, 114.0))
    assert unused.grad is None
    assert calls == [10], "many are small: one exchange"
