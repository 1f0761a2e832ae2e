"""Weights that are split are float32 where trained, and computed with in the model's precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch

from ssah_exp.models.anatomy import blocks
from ssah_exp.training import sharding
from ssah_exp.training.sharding import ShardedTwin
from ssah_exp.training.tuned import Trainable
from tests import tiny


class Nothing:
    def kept_whole(self) -> list[torch.nn.Parameter]:
        return []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("embeddings", [True, False])
def test_the_model_computes_in_its_own_precision_whatever_is_trained(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, embeddings: bool
) -> None:
    """The first weight, whose dtype stands for the model's, is that of the embeddings."""
    asked: list[Any] = []

    def shard(
        model: torch.nn.Module, *given: Any, before: Callable[[torch.nn.Module], None]
    ) -> None:
        asked.append(given[2])
        for block in blocks(model):
            assert {item.dtype for item in block.parameters()} == {dtype}, "widened before its turn"
            before(block)
        before(model)

    monkeypatch.setattr(sharding, "shard", shard)
    model = tiny.tiny_model("llama_gqa", dtype=dtype)
    model.get_input_embeddings().requires_grad_(embeddings)
    twin = ShardedTwin(model)
    twin.shard(cast(Any, None), cast(Trainable, Nothing()))
    assert asked == [dtype]
    held = {item.requires_grad: item.dtype for item in twin.model.parameters()}
    assert held[True] == torch.float32
    assert held.get(False, dtype) == dtype
