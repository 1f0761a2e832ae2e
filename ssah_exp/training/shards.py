"""Weights and gradients of several ranks: split by rows (DTensor, ``Shard(0)``), or whole."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist

from ssah_exp import ranks
from ssah_exp.models.placement import whole


def is_split(tensor: torch.Tensor) -> bool:
    """Whether every rank holds only some of its rows."""
    return hasattr(tensor, "to_local")


def split_like(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, which every rank has, split and placed as ``like``."""
    if not is_split(like):
        return tensor.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    # No rank sends anything: each takes its own rows.
    return distribute_tensor(tensor.to(like.device), mesh, placements, src_data_rank=None)


def kept_by_first(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be split, put together in main memory on rank 0, which writes it.

    Every rank must call this; the others get an empty tensor.
    """
    full = whole(tensor)
    return full.cpu() if ranks.first() else full.new_empty(0, device="cpu")


def average_over_ranks(tensors: Iterable[torch.Tensor]) -> None:
    """Average tensors over ranks in place; a single rank leaves them as they are."""
    if ranks.count() == 1:
        return
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= ranks.count()


@torch.no_grad()
def write_part(weight: torch.Tensor, dim: int, index: torch.Tensor, part: torch.Tensor) -> None:
    """Put rows or columns into a weight, rounded to its dtype.

    Trained columns are split as the weight is: each rank has those of its own rows. Trained rows
    are not: they are gathered, and each rank takes the ones that fall into its share.

    Args:
        weight: ``(out, in)`` or ``(out,)``, whole or split.
        dim: 0 = rows, 1 = columns.
        index: ``(k,)`` int64, ascending.
        part: ``(k, in)``, ``(out, k)`` or ``(k,)``; split if the weight is.
    """
    if not is_split(weight):
        weight.index_copy_(dim, index, part.to(weight.dtype))
        return
    mine: torch.Tensor = weight.to_local()  # type: ignore[attr-defined]
    if dim == 1:
        mine.index_copy_(1, index, part.to_local().to(mine.dtype))  # type: ignore[attr-defined]
        return
    rows = whole(part)
    start = _first_row(weight)
    here = (index >= start) & (index < start + mine.shape[0])
    mine.index_copy_(0, index[here] - start, rows[here].to(mine.dtype))


def _first_row(weight: torch.Tensor) -> int:
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    mesh, placements = weight.device_mesh, weight.placements  # type: ignore[attr-defined]
    _, offset = compute_local_shape_and_global_offset(weight.shape, mesh, placements)
    return int(offset[0])
