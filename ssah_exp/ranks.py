"""Several processes that run one program side by side: who am I, what do the others hold.

Every process ("rank") of a run takes the same steps in the same order. Rank 0 alone writes and
prints. With one process, which is the rule, nothing here waits or touches torch.distributed.

Objects travel over a gloo group of their own, so that a rank may wait for hours (for a judge, for
a file that another one writes) while the group that exchanges gradients keeps a short timeout.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from ssah_exp.errors import ConfigError

Value = TypeVar("Value")

# Long enough for whatever the others may be waiting for; a rank that dies ends them all at once.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class _World:
    rank: int
    count: int
    local_rank: int
    group: Any


_ALONE = _World(0, 1, 0, None)
_world = _ALONE


def rank() -> int:
    """The number of this process, from 0."""
    return _world.rank


def count() -> int:
    """How many processes there are."""
    return _world.count


def local_rank() -> int:
    """The number of this process on its machine, which is also that of its GPU."""
    return _world.local_rank


def first() -> bool:
    """Whether this process writes and prints."""
    return _world.rank == 0


def expected() -> bool:
    """Whether a launcher (ours or torchrun) has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@contextmanager
def joined(devices: int, nodes: int, *, cuda: bool) -> Iterator[None]:
    """Be one of ``devices * nodes`` processes for as long as the block lasts.

    Args:
        devices: Processes per machine.
        nodes: Machines.
        cuda: Whether each process has a GPU: tensors on GPUs then go over NCCL.

    Raises:
        ConfigError: The launcher started another number of processes, or does not say which one
            of its machine this is.
    """
    global _world
    started = int(os.environ["WORLD_SIZE"]) if expected() else 1
    if started != devices * nodes:
        raise ConfigError(
            f"{started} processes were started, but trainer.devices={devices} x "
            f"trainer.num_nodes={nodes} = {devices * nodes}."
        )
    if started == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    place = _place()
    if cuda:
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    _world = _World(dist.get_rank(), started, place, group)
    try:
        yield
    finally:
        _world = _ALONE
        dist.destroy_process_group()


def _place() -> int:
    """Which process of its machine this is.

    Raises:
        ConfigError: The launcher does not say.
    """
    try:
        return int(os.environ["LOCAL_RANK"])
    except KeyError as error:
        raise ConfigError(
            "WORLD_SIZE and RANK are set and LOCAL_RANK is not; start the processes with torchrun."
        ) from error


@contextmanager
def alone() -> Iterator[None]:
    """For rank 0 while the others wait for it: what it calls runs as if in a single process."""
    global _world
    world, _world = _world, _ALONE
    try:
        yield
    finally:
        _world = world


def from_first(make: Callable[[], Value]) -> Value:
    """Return, on every rank, what ``make`` returns on rank 0; the others do not call it.

    If it raises on rank 0, the others wait until their launcher ends them, which is at once.
    """
    if _world.count == 1:
        return make()
    import torch.distributed as dist

    box: list[Any] = [make() if first() else None]
    dist.broadcast_object_list(box, src=0, group=_world.group)
    value: Value = box[0]
    return value


def everyones(value: Value) -> list[Value]:
    """The ranks' values in the order of ranks, on every rank."""
    if _world.count == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * _world.count
    dist.all_gather_object(values, value, group=_world.group)
    return values


def gathered(value: Value) -> list[Value] | None:
    """The ranks' values in the order of ranks, on rank 0; None on the others."""
    if _world.count == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] | None = [None] * _world.count if first() else None
    dist.gather_object(value, values, dst=0, group=_world.group)
    return values


def check_equal(value: Any, problem: Callable[[list[Any]], Exception]) -> None:
    """Refuse to go on if ranks hold different values.

    Raises:
        Exception: The one that ``problem`` makes of all values, on every rank.
    """
    values = everyones(value)
    if len({pickle.dumps(item) for item in values}) > 1:
        raise problem(values)


def dealt(items: int) -> list[int | None]:
    """Which of ``items`` numbered pieces of work are this rank's, dealt out like cards.

    Every rank gets equally many turns, since sharded models compute only together; in a turn that
    is None, this rank has no piece of its own left.

    Returns:
        ``ceil(items / count)`` numbers or None; with one rank ``0 .. items - 1``.
    """
    turns = -(-items // _world.count)
    mine = [turn * _world.count + _world.rank for turn in range(turns)]
    return [number if number < items else None for number in mine]
