"""Two ranks of which a signal ends one: both go on, to the bits of a training that nobody ended.

What they keep beside the weights (float32 masters, and bitsandbytes' moments of one byte) is equal
on both and is written by rank 0 alone; :mod:`test_killed` ends one process in the same ways.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.multiprocessing.spawn import ProcessException

from ssah_exp import ranks
from ssah_exp.training.resume import CHECKPOINT
from tests.ranks.forked import run_forked
from tests.training.calling import with_callback
from tests.training.resuming import STEPS
from tests.training.together import CASES, EACH, REAL, Result, assert_same_bits, runnable, train

pytestmark = pytest.mark.slow  # the rank that is left waits for the other's gradients

STATES = {"freeze": CASES["freeze"], **REAL}
HERE = runnable(STATES)


class EndRank(pl.Callback):
    """Sends a signal to the process of one rank behind one batch."""

    def __init__(self, number: signal.Signals, rank: int, batch: int) -> None:
        self.number, self.rank, self.batch = number, rank, batch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        if len(pl_module.losses) == self.batch and ranks.rank() == self.rank:
            os.kill(os.getpid(), self.number)


def be_ended(name: str, minutes: float | None, end: EndRank, folder: Path) -> None:
    """One of two ranks, which do not get to the end of a training."""
    torch.set_num_threads(1)
    with ranks.joined(2, 1, cuda=False), with_callback(end):
        train(STATES[name], checkpoints=folder, minutes=minutes)


def end_one(name: str, minutes: float | None, end: EndRank, folder: Path) -> ProcessException:
    """Have two ranks train, of which one is sent a signal; how the first to end did so."""
    with pytest.raises(ProcessException) as ended:
        run_forked(2, partial(be_ended, name, minutes, end), folder)
    return ended.value


def go_on(name: str, folder: Path) -> None:
    """One of two ranks: the rest of the training, and another that nobody ended."""
    torch.set_num_threads(1)
    with ranks.joined(2, 1, cuda=False):
        results = {"rest": train(STATES[name], checkpoints=folder)}
        results["undisturbed"] = train(STATES[name])
        for how, result in results.items():
            torch.save(vars(result), folder.parent / f"{how}-{ranks.rank()}.pt")


def assert_both_go_on(name: str, folder: Path, saved: int) -> None:
    """Each trains the rest, and no more than that."""
    assert len(torch.load(folder / CHECKPOINT, weights_only=True)["losses"]) == saved
    run_forked(2, partial(go_on, name), folder)
    for rank in (0, 1):
        found, straight = (
            Result(**torch.load(folder.parent / f"{how}-{rank}.pt", weights_only=True))
            for how in ("rest", "undisturbed")
        )
        assert (found.batches, straight.batches) == (STEPS - saved, STEPS)
        assert_same_bits(found, straight)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", HERE)
def test_after_sigkill_of_one_rank_both_go_on_from_the_step_before(
    name: str, rank: int, tmp_path: Path
) -> None:
    """The other one waits for gradients that never come, and fails; it must not save those."""
    folder = tmp_path / "partial"
    end_one(name, 0.0, EndRank(signal.SIGKILL, rank, EACH + 2), folder)
    assert_both_go_on(name, folder, EACH)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("name", HERE)
def test_after_sigterm_to_one_rank_both_go_on_from_that_step(
    name: str, rank: int, tmp_path: Path
) -> None:
    """Nothing but the signal has them write a checkpoint, and only one of them gets it."""
    folder = tmp_path / "partial"
    ended = end_one(name, None, EndRank(signal.SIGTERM, rank, EACH + 1), folder)
    assert getattr(ended, "exit_code", None) == 128 + signal.SIGTERM
    assert_both_go_on(name, folder, 2 * EACH)
