"""When a training saves and ends: by the clock, by signals, with other ranks."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ssah_exp import ranks
from ssah_exp.config.schema import TuningConfig
from ssah_exp.lightning import make_trainer
from ssah_exp.training import loop, resume
from ssah_exp.training.matching import LossMatch
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.resume import CHECKPOINT, Checkpoints
from tests import tiny
from tests.training import worker
from tests.training.resuming import (
    STEPS,
    Worker,
    trained,
    uninterrupted,
)


def test_minutes_are_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, now = [], [0.0]
    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def save(path: Path) -> None:
        saved.append(now[0])
        torch.save({}, path)

    trainer: Any = SimpleNamespace(
        accumulate_grad_batches=1, num_training_batches=9, save_checkpoint=save, callbacks=[]
    )
    config = TuningConfig()
    module = FineTuning(tiny.tiny_model("llama"), SupervisedObjective(), config, steps=9)
    checkpoints = Checkpoints(tmp_path, 2)
    for at in (60.0, 119.0, 120.0, 121.0, 239.0, 240.0):
        now[0] = at
        module.losses.append(1.0)
        checkpoints.on_train_batch_end(trainer, module)
    assert saved == [120, 240]
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def between_steps(saved: list[str]) -> tuple[Any, FineTuning]:
    """A trainer that has done one of nine steps, and its module."""

    def save(path: Path) -> None:
        saved.append(path.name)
        torch.save({}, path)

    module = FineTuning(tiny.tiny_model("llama"), SupervisedObjective(), TuningConfig(), steps=9)
    module.losses.append(1.0)
    trainer = SimpleNamespace(
        accumulate_grad_batches=1, num_training_batches=9, save_checkpoint=save, callbacks=[]
    )
    return trainer, module


@pytest.mark.parametrize("due", [True, False])
def test_all_ranks_save_when_the_first_one_s_clock_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: bool
) -> None:
    """A checkpoint is made by all of them; clocks differ, and one alone would wait for ever."""
    saved: list[str] = []
    trainer, module = between_steps(saved)
    monkeypatch.setattr(ranks, "everyones", lambda own: [(due, False, False), own])
    checkpoints = Checkpoints(tmp_path, 1000.0 if due else 0.0)  # the opposite
    checkpoints.on_train_batch_end(trainer, module)
    assert len(saved) == due


@pytest.mark.parametrize(
    ("asked", "interrupted", "error"),
    [(True, False, SIGTERMException), (False, True, KeyboardInterrupt)],
)
def test_what_another_rank_was_asked_ends_this_one_as_well(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool,
    interrupted: bool,
    error: type[BaseException],
) -> None:
    saved: list[str] = []
    trainer, module = between_steps(saved)
    theirs = (False, asked, interrupted)

    def everyones(own: Any) -> list[Any]:
        return [own, theirs[-len(own) :] if isinstance(own, tuple) else True]

    monkeypatch.setattr(ranks, "everyones", everyones)
    checkpoints = Checkpoints(tmp_path, None)
    with pytest.raises(error):
        checkpoints.on_train_batch_end(trainer, module)
    assert len(saved) == interrupted, "where the scheduler asked, on_exception saves"
    with pytest.raises(error):
        checkpoints.end_if_asked()
    checkpoints.on_train_end(trainer, module)
    assert len(saved) == interrupted + 1


@pytest.mark.parametrize(
    ("error", "accumulate", "count"),
    [(SIGTERMException, 1, 1), (SIGTERMException, 2, 0), (ValueError, 1, 0)],
)
def test_an_error_is_not_gone_on_from(
    tmp_path: Path, error: type[Exception], accumulate: int, count: int
) -> None:
    """Weights that are no longer finite would take the place of those that were."""
    saved: list[str] = []
    trainer, module = between_steps(saved)
    trainer.accumulate_grad_batches = accumulate
    Checkpoints(tmp_path, None).on_exception(trainer, module, error())
    assert len(saved) == count


def test_in_another_thread_signals_are_left_alone(tmp_path: Path) -> None:
    """Python lets none but the main one take them, and a notebook's server may train in others."""
    trainer, module = between_steps([])
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    checkpoints = Checkpoints(tmp_path, None)

    def work() -> bool:
        with checkpoints.interruptible():
            checkpoints.on_train_start(trainer, module)
            return before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))

    with ThreadPoolExecutor() as pool:
        assert pool.submit(work).result()


def test_sigterm_saves_although_no_checkpoint_was_due(tmp_path: Path) -> None:
    with closing(Worker(partial(worker.train, tmp_path, "none", 1, None))) as process:
        process.until(4)
        assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) in (4, 5)
    assert trained(tmp_path) == uninterrupted()


@pytest.mark.parametrize(("asked_at", "saved_at"), [(4, 6), (7, STEPS)])
def test_sigterm_amid_accumulated_gradients_waits_for_their_step(
    tmp_path: Path, asked_at: int, saved_at: int
) -> None:
    with closing(Worker(partial(worker.train, tmp_path, "none", 3, None))) as process:
        process.until(asked_at)
        assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) == saved_at
    wanted = uninterrupted(accumulate=3)
    assert trained(tmp_path, accumulate=3) == wanted


class TermWhileLooking(LossMatch):
    """The scheduler's signal arrives while the loss is looked at behind the last step."""

    def callback(self, *given: Any) -> pl.Callback:
        callback = super().callback(*given)
        look = callback.on_train_batch_end

        def on_train_batch_end(trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
            look(trainer, pl_module, *rest)
            if len(pl_module.losses) == STEPS:
                os.kill(os.getpid(), signal.SIGTERM)

        callback.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
        return callback


def test_sigterm_during_the_last_look_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    wanted = uninterrupted()
    never = {"match": TermWhileLooking(0.0, 1), "sample": tiny.conversations(2)}
    with pytest.raises(SystemExit) as ended:
        worker.train(tmp_path, "none", 1, None, **never)
    assert ended.value.code == 143
    assert (tmp_path / CHECKPOINT).is_file()
    assert trained(tmp_path) == wanted


def test_sigterm_behind_the_last_step_ends_the_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while shards are put together; Lightning hands out no further batch that could end it."""

    def term(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    wanted = uninterrupted()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_end", term)
        with pytest.raises(SystemExit) as ended:
            worker.train(tmp_path, "none", 1, 0.0)
    assert ended.value.code == 143
    assert trained(tmp_path) == wanted


def test_sigterm_behind_the_last_step_saves_where_no_checkpoint_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `checkpoint_minutes=null` the whole training was lost."""
    wanted, end = uninterrupted(), Checkpoints.on_train_end

    def term(*given: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        end(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_end", term)
        with pytest.raises(SystemExit) as ended:
            worker.train(tmp_path, "none", 1, None)
    assert ended.value.code == 143
    assert (tmp_path / CHECKPOINT).is_file()
    monkeypatch.setattr(FineTuning, "training_step", lambda *_: pytest.fail("a step again"))
    assert trained(tmp_path) == wanted


def test_within_a_slurm_job_lightning_neither_saves_nor_resumes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes any hpc_ckpt_*.ckpt of the current folder, and writes one at SIGUSR1."""
    wanted = uninterrupted()
    for name, value in {"NTASKS": "1", "JOB_ID": "7", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    assert SLURMEnvironment.detect()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_text("another arm's")
    taken: list[int] = []
    plain = signal.signal

    def watched(number: int, to: Any) -> Any:
        if to is not signal.getsignal(number):  # it puts back what it has not changed, too
            taken.append(number)
        return plain(number, to)

    monkeypatch.setattr(signal, "signal", watched)
    assert trained(tmp_path / "own") == wanted
    assert signal.SIGTERM in taken
    assert signal.SIGUSR1 not in taken


class CtrlC(LossMatch):
    """A person's first Ctrl+C comes within a step, so many batches before the last."""

    def callback(self, *given: Any) -> pl.Callback:
        callback = super().callback(*given)

        def on_train_batch_start(trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
            if len(pl_module.losses) == 4:
                os.kill(os.getpid(), signal.SIGINT)

        callback.on_train_batch_start = on_train_batch_start  # type: ignore[method-assign]
        return callback


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize(("accumulate", "saved_at"), [(1, 5), (3, 6)])
def test_ctrl_c_ends_behind_the_step_and_loses_nothing(
    tmp_path: Path, accumulate: int, saved_at: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    given = {"match": CtrlC(0.0, 1), "sample": tiny.conversations(2)}
    with pytest.raises(KeyboardInterrupt):
        worker.train(tmp_path, "none", accumulate, None, **given)
    assert signal.getsignal(signal.SIGINT) is before
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) == saved_at
    wanted = uninterrupted(accumulate=accumulate)
    assert trained(tmp_path, accumulate=accumulate) == wanted


@pytest.mark.usefixtures("at_a_terminal")
def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, None)
    with checkpoints.interruptible():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("at_a_terminal")
def test_of_several_ranks_none_ends_amid_a_step_however_often_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others would wait for its gradients."""
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with Checkpoints(tmp_path, None).interruptible():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("at_a_terminal")
def test_where_ctrl_c_is_ignored_it_stays_ignored(tmp_path: Path) -> None:
    """As in the background of a shell, whose Ctrl+C is meant for others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Checkpoints(tmp_path, None).interruptible():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


class Interrupt(pl.Callback):
    """A person's Ctrl+C after two batches."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        if len(pl_module.losses) == 2:
            raise KeyboardInterrupt


def test_ctrl_c_reaches_the_command_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, before = make_trainer, signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(
        loop,
        "make_trainer",
        lambda config, callbacks, **rest: make(config, [*callbacks, Interrupt()], **rest),
    )
    with pytest.raises(KeyboardInterrupt):
        worker.train(tmp_path, "none", 1, 0.0)
    assert signal.getsignal(signal.SIGINT) == before, "a second Ctrl+C must work, too"
