"""Processes that a signal ends amid a training with masters, 8-bit states or preferences.

Started again, each ends with the bits of a training that nobody ended. :mod:`test_resume` ends
plain ones at every step; what these keep besides (float32 masters, moments of one byte and their
scales) is in no weight, so that a checkpoint without it would end elsewhere.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import pytest
import pytorch_lightning as pl
import torch

from ssah_exp.training.resume import CHECKPOINT
from tests.forking import START_METHOD
from tests.training.resuming import STEPS, Worker
from tests.training.together import (
    CASES,
    EACH,
    REAL,
    Case,
    Result,
    assert_same_bits,
    runnable,
    train,
)

STATES = {**{name: CASES[name] for name in ("budget", "freeze", "budget, dpo")}, **REAL}
TWICE = ("freeze", "dpo, eight bits")
HERE = runnable(STATES)


@cache
def undisturbed(name: str) -> Result:
    return train(STATES[name])


def batches_saved(folder: Path) -> int:
    return len(torch.load(folder / CHECKPOINT, weights_only=True)["losses"])


def end(case: Case, folder: Path, at: int, number: signal.Signals, minutes: float | None) -> int:
    """Have a process train, end it behind batch ``at``; its exit code."""
    training = partial(train, case, checkpoints=folder, minutes=minutes)
    with closing(Worker(training)) as process:
        process.until(at)
        code = process.end(number)
    assert code is not None
    return code


def assert_goes_on(name: str, folder: Path, saved: int) -> None:
    """Trains the rest, and no more than that."""
    assert batches_saved(folder) == saved
    found = train(STATES[name], checkpoints=folder)
    assert found.batches == STEPS - saved
    assert_same_bits(found, undisturbed(name))


@pytest.mark.parametrize("name", HERE)
def test_after_sigkill_amid_a_step_it_goes_on_from_the_step_before(
    name: str, tmp_path: Path
) -> None:
    """What was summed since is in the killed process alone."""
    code = end(STATES[name], tmp_path, EACH + 2, signal.SIGKILL, minutes=0.0)
    assert code == -signal.SIGKILL
    assert_goes_on(name, tmp_path, EACH)


@pytest.mark.parametrize("name", HERE)
def test_after_sigterm_amid_a_step_it_goes_on_from_that_step(name: str, tmp_path: Path) -> None:
    """Nothing but the signal has it write a checkpoint."""
    code = end(STATES[name], tmp_path, EACH + 1, signal.SIGTERM, minutes=None)
    assert code == 128 + signal.SIGTERM
    assert_goes_on(name, tmp_path, 2 * EACH)


@pytest.mark.parametrize("name", [item for item in HERE if item.values[0] in TWICE])
def test_ended_twice_it_goes_on_from_what_the_second_process_saved(
    name: str, tmp_path: Path
) -> None:
    """What was restored is saved again, by a process that did not make it."""
    end(STATES[name], tmp_path, EACH, signal.SIGKILL, minutes=0.0)
    end(STATES[name], tmp_path, EACH + 1, signal.SIGTERM, minutes=None)
    assert_goes_on(name, tmp_path, 2 * EACH)


def die_writing(case: Case, folder: Path, number: int) -> None:
    """Train, and end with half of the checkpoint of step ``number`` on the disk."""
    save = pl.Trainer.save_checkpoint
    saved = 0

    def save_and_die(trainer: pl.Trainer, path: Path) -> None:
        nonlocal saved
        saved += 1
        save(trainer, path)
        if saved == number:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    with patch.object(pl.Trainer, "save_checkpoint", save_and_die):
        train(case, checkpoints=folder, minutes=0.0)


def killed_writing(name: str, folder: Path, number: int) -> Path:
    """The half of a checkpoint that a killed process leaves."""
    process = get_context(START_METHOD).Process(
        target=die_writing, args=(STATES[name], folder, number)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (half,) = (path for path in folder.iterdir() if path.name != CHECKPOINT)
    assert half.stat().st_size > 0
    return half


@pytest.mark.parametrize("name", HERE)
def test_after_sigkill_amid_a_checkpoint_it_goes_on_from_the_one_before(
    name: str, tmp_path: Path
) -> None:
    half = killed_writing(name, tmp_path, 2)
    assert_goes_on(name, tmp_path, EACH)
    assert not half.exists()


def test_after_sigkill_amid_the_first_checkpoint_it_begins_anew(tmp_path: Path) -> None:
    half = killed_writing("freeze", tmp_path, 1)
    assert not (tmp_path / CHECKPOINT).exists()
    found = train(STATES["freeze"], checkpoints=tmp_path)
    assert found.batches == STEPS
    assert_same_bits(found, undisturbed("freeze"))
    assert not half.exists()
