"""What processes know of one another, without starting any."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from ssah_exp import ranks
from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.training import loop
from ssah_exp.training.loop import fine_tune, supervised_run
from tests import tiny

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


@pytest.fixture(autouse=True)
def not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


def be(monkeypatch: pytest.MonkeyPatch, rank: int, count: int) -> None:
    """Take this process for one of several, with nobody behind the group they talk over."""
    monkeypatch.setattr(ranks, "_world", ranks._World(rank, count, rank, "patient"))


@pytest.mark.parametrize(
    ("started", "devices", "nodes"), [(None, 2, 1), (None, 1, 2), (2, 3, 1), (3, 1, 2), (2, 1, 1)]
)
def test_another_number_of_processes_than_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, started: int | None, devices: int, nodes: int
) -> None:
    """Each would train for itself, and all would write to the same folder."""
    if started is not None:
        for name, value in zip(LAUNCHED, (0, 0, started), strict=True):
            monkeypatch.setenv(name, str(value))
    said = f"{started or 1} processes were .* = {devices * nodes}\\.$"
    with pytest.raises(ConfigError, match=said), ranks.joined(devices, nodes, cuda=False):
        pass


def test_a_launcher_that_numbers_no_machine_s_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All processes of a machine would take its first GPU."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ConfigError, match="LOCAL_RANK is not"), ranks.joined(2, 1, cuda=False):
        pass


@pytest.mark.parametrize(
    "names", [{}, {"RANK": "0"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "1", "RANK": "0"}]
)
def test_what_other_programs_set_starts_no_ranks(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str]
) -> None:
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert not ranks.expected()
    with ranks.joined(1, 1, cuda=False):
        assert (ranks.rank(), ranks.count(), ranks.local_rank()) == (0, 1, 0)


@pytest.mark.parametrize("cuda", [True, False])
def test_a_rank_takes_its_machine_s_next_gpu_and_may_be_waited_for_for_days(
    monkeypatch: pytest.MonkeyPatch, cuda: bool
) -> None:
    """The second process of the second machine, on a network that is not there."""
    steps: list[object] = []

    def new_group(*, backend: str, timeout: timedelta) -> str:
        steps.append((backend, timeout > timedelta(days=1)))
        return "group"

    for name, value in zip(LAUNCHED, (3, 1, 4), strict=True):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "set_device", steps.append)
    monkeypatch.setattr(dist, "init_process_group", steps.append)
    monkeypatch.setattr(dist, "new_group", new_group)
    monkeypatch.setattr(dist, "get_rank", lambda: 3)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: steps.append("left"))
    with suppress(KeyError), ranks.joined(2, 2, cuda=cuda):
        assert (ranks.rank(), ranks.count(), ranks.local_rank()) == (3, 4, 1)
        assert not ranks.first()
        raise KeyError
    assert (ranks.rank(), ranks.count(), ranks.local_rank()) == (0, 1, 0)
    backends = [1, "cpu:gloo,cuda:nccl"] if cuda else ["gloo"]
    assert steps == [*backends, ("gloo", True), "left"]


@pytest.mark.parametrize("rank", [0, 1])
def test_what_ranks_tell_one_another_goes_over_their_patient_group(
    monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """That of the gradients gives up after minutes, and on GPUs it takes tensors alone."""
    over: list[str] = []
    made: list[int] = []

    def broadcast(box: list[object], *, src: int, group: str) -> None:
        over.append(group)
        box[src] = ("rank 0 said", box[src])

    def gather(value: object, values: list[object] | None, *, dst: int, group: str) -> None:
        over.append(group)
        assert (values is None) == (rank != dst)
        if values is not None:
            values[:] = [value, "another's"]

    def all_gather(values: list[object], value: object, *, group: str) -> None:
        over.append(group)
        values[rank], values[1 - rank] = value, "another's"

    def make() -> object:
        made.append(rank)
        return "made"

    be(monkeypatch, rank, 2)
    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    monkeypatch.setattr(dist, "gather_object", gather)
    monkeypatch.setattr(dist, "all_gather_object", all_gather)
    assert ranks.from_first(make) == ("rank 0 said", "made" if rank == 0 else None)
    assert made == [0] * (rank == 0), "the others do not call it"
    assert ranks.gathered("mine") == (["mine", "another's"] if rank == 0 else None)
    assert sorted(ranks.everyones("mine")) == ["another's", "mine"]
    assert over == ["patient"] * 3


@pytest.mark.parametrize("fails", [False, True])
def test_rank_0_alone_is_one_of_several_again_afterwards(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    be(monkeypatch, 0, 3)
    with suppress(KeyError), ranks.alone():
        assert ranks.everyones("mine") == ranks.gathered("mine") == ["mine"]
        assert ranks.from_first(lambda: "mine") == "mine"
        if fails:
            raise KeyError
    assert (ranks.rank(), ranks.count()) == (0, 3)


@pytest.mark.parametrize("items", [0, 1, 3, 7])
@pytest.mark.parametrize("count", [1, 3])
def test_every_piece_of_work_is_dealt_to_one_rank_in_as_many_turns(
    monkeypatch: pytest.MonkeyPatch, items: int, count: int
) -> None:
    hands = []
    for rank in range(count):
        be(monkeypatch, rank, count)
        hands.append(ranks.dealt(items))
    turns = list(zip(*hands, strict=True))
    assert len(turns) == -(-items // count)
    table = [number for turn in turns for number in turn]
    assert table == [*range(items), *[None] * (len(table) - items)]


@pytest.mark.parametrize("same", [True, False])
def test_weights_that_differ_between_ranks_are_no_result(
    monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Rank 0's would be written, and nobody know that another learned something else."""
    fit, compared = loop._fit, list[object]()

    def everyones(value: object) -> list[object]:
        compared.append(value)
        return [value, value if same else "another digest"]

    def trained(*given: Any) -> Any:
        module = fit(*given)
        monkeypatch.setattr(ranks, "count", lambda: 2)
        monkeypatch.setattr(ranks, "everyones", everyones)
        return module

    monkeypatch.setattr(loop, "_fit", trained)
    loaded = tiny.tiny_loaded()
    config = TuningConfig(epochs=1, batch_size=2, learning_rate=1e-2)
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    run = supervised_run(loaded, tiny.conversations(4), config, 0, trainer)
    with nullcontext() if same else pytest.raises(ModelError, match="ended with different weights"):
        fine_tune(loaded, run)
    assert len(compared) == 1
