"""What every rank reads when a training over several goes on."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch

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
