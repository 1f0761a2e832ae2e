"""What every rank reads when a training over several goes on."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch
from torch import nn

from ssah_exp.training import sharding
from ssah_exp.training.sharding import ShardedStrategy


class Odd:
    """Not plain values."""


def test_a_checkpoint_is_read_where_it_lies(tmp_path: Path) -> None:
    """Every rank reads it: eight copies of a large one would be more than a machine has."""
    file = tmp_path / "held.ckpt"
    torch.save({"state": torch.arange(100_000)}, file)
    strategy = ShardedStrategy(1)
    held = strategy.load_checkpoint(file, weights_only=True)
    assert file.name in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert torch.equal(held["state"], torch.arange(100_000))


def test_a_checkpoint_with_objects_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "held.ckpt"
    torch.save({"state": Odd()}, file)
    with pytest.raises(UnpicklingError):
        ShardedStrategy(1).load_checkpoint(file, weights_only=False)


def optimizer_of(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """In two groups, as with and without weight decay."""
    groups: list[dict[str, Any]] = [
        {"params": parameters[:1]},
        {"params": parameters[1:], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.5)


def test_an_optimizer_goes_on_with_every_state_split_as_its_own_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strategy, more = ShardedStrategy(1), ShardedStrategy(1)
    parameters = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(4))]
    first = optimizer_of(parameters)
    for at, item in enumerate(parameters):
        item.grad = torch.full_like(item, at + 1.0)
    first.step()
    state = strategy.optimizer_state(first)
    asked: list[Any] = []

    def split_like(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        asked.append((value.shape, like))
        return value

    monkeypatch.setattr(sharding, "split_like", split_like)
    fresh = [nn.Parameter(torch.zeros_like(item)) for item in parameters]
    again = optimizer_of(fresh)
    more.optimizers = [again]
    more.load_optimizer_state_dict({"optimizer_states": [state]})
    for old, new in zip(parameters, fresh, strict=True):
        for name, value in first.state[old].items():
            assert torch.equal(again.state[new][name], value), name
    assert len(asked) == 4, "two of each weight; the number of steps is whole everywhere"
    assert all(shape == like.shape for shape, like in asked)
    assert {id(like) for _, like in asked} == {*map(id, fresh)}


@pytest.mark.parametrize("first", [True, False])
def test_the_first_rank_alone_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Several writers of one file would leave parts of each."""
    monkeypatch.setattr(ShardedStrategy, "is_global_zero", first)
    ShardedStrategy(1).save_checkpoint({"state": torch.arange(3)}, tmp_path / "held.ckpt")
    assert (tmp_path / "held.ckpt").exists() == first
