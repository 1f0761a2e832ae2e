"""Weights split over ranks, one rank after the other in this process: each has what is its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from ssah_exp import ranks
from ssah_exp.training import shards
from ssah_exp.training.shards import average_over_ranks, kept_by_first, split_like, write_part

ROWS = 7  # of which five ranks have two, two, two, one and none


@contextmanager
def as_rank(rank: int, count: int) -> Iterator[DeviceMesh]:
    """Among ranks that are not there: what would be exchanged with them is not."""
    dist.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())
    try:
        yield init_device_mesh("cpu", (count,))
    finally:
        dist.destroy_process_group()


def split(tensor: torch.Tensor, mesh: DeviceMesh) -> torch.Tensor:
    return distribute_tensor(tensor.clone(), mesh, [Shard(0)], src_data_rank=None)


def own(tensor: torch.Tensor) -> torch.Tensor:
    part: torch.Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return part.clone()


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(("shape", "dim"), [((ROWS, 4), 0), ((ROWS,), 0), ((3, ROWS), 1)])
@pytest.mark.parametrize("index", [[0, 2, 3, 4, 6], [1, 5]])
def test_what_is_written_into_shards_is_what_a_whole_weight_would_get(
    monkeypatch: pytest.MonkeyPatch, count: int, shape: tuple[int, ...], dim: int, index: list[int]
) -> None:
    weight, at = torch.randn(shape).bfloat16(), torch.tensor(index)
    part = torch.randn_like(weight.index_select(dim, at).float())
    monkeypatch.setattr(shards, "whole", lambda _: part)  # put together by ranks that are there
    alone = weight.clone()
    write_part(alone, dim, at, part)
    assert torch.equal(alone, weight.index_copy(dim, at, part.bfloat16()))
    found = []
    for rank in range(count):
        with as_rank(rank, count) as mesh:
            held = split(weight, mesh)
            write_part(held, dim, at, split(part, mesh))
            found.append(own(held))
    assert torch.equal(torch.cat(found), alone)


@pytest.mark.parametrize("count", [2, 5])
def test_a_state_is_split_as_its_weight_is(count: int) -> None:
    state, found = torch.randn(ROWS, 3), []
    for rank in range(count):
        with as_rank(rank, count) as mesh:
            weight = split(torch.zeros(ROWS, 3), mesh)
            mine = split_like(state, weight)
            assert own(mine).shape == own(weight).shape
            found.append(own(mine))
    assert torch.equal(torch.cat(found), state)
    assert split_like(state, torch.zeros(ROWS, 3)) is state


@pytest.mark.parametrize("first", [True, False])
def test_the_first_rank_keeps_what_it_will_write(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    monkeypatch.setattr(ranks, "first", lambda: first)
    kept = kept_by_first(torch.arange(3.0))
    assert kept.tolist() == ([0, 1, 2] if first else [])


def test_an_average_is_the_sum_over_the_number_of_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, both = torch.tensor([1.0, 3.0]), [torch.tensor([1.0, 3.0]), torch.tensor(5.0)]
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.add_(10))  # the other's share
    average_over_ranks([alone])
    assert alone.tolist() == [1, 3]
    monkeypatch.setattr(ranks, "count", lambda: 2)
    average_over_ranks(both)
    assert [item.tolist() for item in both] == [[5.5, 6.5], 7.5]
