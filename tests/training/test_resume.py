"""Killed at any step, a training goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssah_exp.config.schema import TuningConfig
from ssah_exp.errors import StoreError
from ssah_exp.lightning import DirectCheckpointIO
from ssah_exp.owner import work_name
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.replay import ReplayedBatches
from ssah_exp.training.resume import CHECKPOINT, checkpoint_in
from tests import tiny
from tests.training import worker
from tests.training.resuming import (
    CASES,
    STEPS,
    KilledError,
    Worker,
    trained,
    uninterrupted,
)


@pytest.mark.parametrize("kill_at", range(1, STEPS + 1))
@pytest.mark.parametrize(("policy", "accumulate"), CASES)
def test_killed_at_any_step(
    tmp_path: Path,
    policy: str,
    accumulate: int,
    kill_at: int,
) -> None:
    wanted = uninterrupted(policy, accumulate)
    with pytest.raises(KilledError):
        trained(tmp_path, policy, accumulate, kill_at)
    saved = (tmp_path / CHECKPOINT).is_file()
    assert saved == (kill_at >= accumulate), "only between optimizer steps"
    assert trained(tmp_path, policy, accumulate) == wanted


def test_killed_twice(tmp_path: Path) -> None:
    for kill_at in (3, 6):
        with pytest.raises(KilledError):
            trained(tmp_path, kill_at=kill_at)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) == 6
    assert trained(tmp_path) == uninterrupted()


def test_frozen_weights_are_in_no_checkpoint(tmp_path: Path) -> None:
    sizes = {}
    for policy in ("none", "budget"):
        with pytest.raises(KilledError):
            trained(tmp_path / policy, policy, kill_at=3)
        path = tmp_path / policy / CHECKPOINT
        sizes[policy] = path.stat().st_size
        assert torch.load(path, weights_only=True)["state_dict"] == {}
    assert sizes["budget"] < 0.6 * sizes["none"]


def test_random_draws_go_on_where_they_were() -> None:
    """Dropout's, which these runs have none of."""
    weights: Any = SimpleNamespace(state=dict, load_state=lambda _: torch.rand(5))
    model, saved = tiny.tiny_model("llama"), dict[str, Any]()
    first, second = (
        FineTuning(model, SupervisedObjective(), TuningConfig(), steps=9) for _ in range(2)
    )
    first.tuned = second.tuned = weights
    torch.manual_seed(3)
    first.on_save_checkpoint(saved)
    wanted = torch.rand(5)
    torch.manual_seed(4)
    second.on_load_checkpoint(saved)
    second.on_train_start()
    assert torch.equal(torch.rand(5), wanted)


def test_a_checkpoint_of_split_weights_is_not_read_into_whole_ones() -> None:
    module = FineTuning(tiny.tiny_model("llama"), SupervisedObjective(), TuningConfig(), steps=9)
    with pytest.raises(StoreError, match=r"under another trainer\.strategy"):
        module.on_load_checkpoint({"sharded": True, "losses": []})


def test_sigkill_then_the_same_command(tmp_path: Path) -> None:
    with closing(Worker(partial(worker.train, tmp_path, "budget", 1, 0.0))) as process:
        process.until(3)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    assert trained(tmp_path, "budget") == uninterrupted("budget")


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_a_checkpoint_cut_short_is_named_and_left_alone(tmp_path: Path, keep: int) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, kill_at=3)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=f"{path} is damaged"):
        checkpoint_in(tmp_path)
    assert path.stat().st_size == keep


@pytest.mark.parametrize("keep", [0, 20_000])
def test_a_training_does_not_begin_anew_over_a_checkpoint_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    """It could be mended from a backup, and hours lie in it."""
    with pytest.raises(KilledError):
        trained(tmp_path, "budget", kill_at=3)
    path = tmp_path / CHECKPOINT
    left = path.read_bytes()[:keep]
    path.write_bytes(left)
    steps: list[int] = []
    monkeypatch.setattr(FineTuning, "training_step", lambda *_: steps.append(1))
    with pytest.raises(StoreError, match=f"{path} is damaged .* Delete it to train from the start"):
        trained(tmp_path, "budget")
    assert not steps
    assert path.read_bytes() == left
    assert [item.name for item in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_flipped_bit_of_a_checkpoint_is_seen(tmp_path: Path) -> None:
    """torch would load it, and the run go on to other weights."""
    with pytest.raises(KilledError):
        trained(tmp_path, kill_at=3)
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(StoreError, match=f"{path} is damaged .the checksum of"):
        checkpoint_in(tmp_path)


def test_a_checkpoint_that_holds_more_than_plain_values_is_named(tmp_path: Path) -> None:
    """It is whole, and another program's: none of its code is run."""
    torch.save({"losses": Path("somewhere")}, tmp_path / CHECKPOINT)
    with pytest.raises(StoreError, match=r"is damaged .UnpicklingError"):
        checkpoint_in(tmp_path)


def test_a_checkpoint_is_written_where_it_is_to_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder for temporary files may be full, or hold its files in memory."""
    monkeypatch.setattr(tempfile, "mkstemp", lambda *_, **__: pytest.fail("a temporary file"))
    with pytest.raises(KilledError):
        trained(tmp_path, kill_at=3)
    assert checkpoint_in(tmp_path) == tmp_path / CHECKPOINT
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_checkpoint_clears_away_what_a_killed_process_left_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setattr(os, "getpid", lambda: 1 << 30)  # no process has such an id
        left = tmp_path / f".{CHECKPOINT}{work_name()}.tmp"
    left.write_bytes(b"half")
    with pytest.raises(KilledError):
        trained(tmp_path, kill_at=3)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_each_checkpoint_is_written_under_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that train one arm, which locks prevent as far as they can, mix nothing up."""
    plain = DirectCheckpointIO.save_checkpoint
    names: list[str] = []

    def save(io: DirectCheckpointIO, checkpoint: dict[str, Any], path: Path, **rest: Any) -> None:
        names.append(path.name)
        plain(io, checkpoint, path, **rest)

    monkeypatch.setattr(DirectCheckpointIO, "save_checkpoint", save)
    with pytest.raises(KilledError):
        trained(tmp_path, kill_at=3)
    assert len(set(names)) == len(names) > 1


def test_a_disk_that_is_full_is_named_and_keeps_no_half_of_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, kill_at=2)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, hard))
    try:
        with pytest.raises(StoreError, match=r"last.ckpt: the disk is full"):
            trained(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert (tmp_path / CHECKPOINT).read_bytes() == kept, "what there was is gone on from"
    assert trained(tmp_path) == uninterrupted()


def test_no_checkpoint_means_from_the_start(tmp_path: Path) -> None:
    assert checkpoint_in(None) is None
    assert checkpoint_in(tmp_path) is None


class Counted:
    """A loader whose order is random but follows from its making."""

    def __init__(self) -> None:
        self._draw = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return 4

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(torch.randperm(4, generator=self._draw).tolist())


@pytest.mark.parametrize("done", range(12))
def test_replay_goes_on_anywhere(done: int) -> None:
    every = [turn.batch for turn in ReplayedBatches(Counted, 3)]  # type: ignore[arg-type]
    assert len(every) == 12
    assert len(set(map(tuple, (every[:4], every[4:8], every[8:])))) > 1, "epochs differ"
    batches = ReplayedBatches(Counted, 3)  # type: ignore[arg-type]
    batches.load_state_dict({"done": done})
    assert [turn.batch for turn in batches] == every[done:]
    assert batches.state_dict() == {"done": 12}
