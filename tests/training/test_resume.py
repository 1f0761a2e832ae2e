"""Killed at any step, a training goes on and ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cache
from multiprocessing import get_context
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
from ssah_exp.errors import StoreError
from ssah_exp.lightning import make_trainer
from ssah_exp.training import loop, resume
from ssah_exp.training.matching import LossMatch
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.replay import ReplayedBatches
from ssah_exp.training.resume import CHECKPOINT, Checkpoints, checkpoint_in
from tests import tiny
from tests.forking import START_METHOD
from tests.training import worker

STEPS = 8  # 10 examples in batches of 3, twice


class Worker:
    """A training process that stops after every step until it is let go; a test ends it."""

    def __init__(
        self,
        folder: Path,
        policy: str = "none",
        accumulate: int = 1,
        minutes: float | None = 0.0,
    ) -> None:
        processes = get_context(START_METHOD)
        self.connection, theirs = processes.Pipe()
        given = (theirs, folder, policy, accumulate, minutes)
        self.process = processes.Process(target=worker.main, args=given, daemon=True)
        self.process.start()
        theirs.close()

    def until(self, step: int) -> None:
        """Let it work until ``step`` is done; it then waits."""
        while self.connection.recv() != step:
            self.go()

    def go(self) -> None:
        self.connection.send("go")

    def end(self, number: signal.Signals) -> int | None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        with suppress(EOFError, OSError):  # it has ended
            while True:  # asked to end, it may have steps to go first
                self.go()
                self.connection.recv()
        self.process.join()
        return self.process.exitcode

    def close(self) -> None:
        """Told to end it would only note it, and wait on."""
        self.process.kill()
        self.connection.close()


class KilledError(Exception):
    """What ends a run in these tests."""


class KillAt(pl.Callback):
    """Ends the run after so many batches, wherever it is."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        if len(pl_module.losses) == self.batch:
            raise KilledError


def trained(
    folder: Path | None,
    monkeypatch: pytest.MonkeyPatch,
    policy: str = "none",
    accumulate: int = 1,
    kill_at: int = 0,
) -> str:
    """Train in this process; ``kill_at`` = 0 lets it end."""
    make = make_trainer
    monkeypatch.setattr(
        loop,
        "make_trainer",
        lambda config, callbacks, **rest: make(config, [*callbacks, KillAt(kill_at)], **rest),
    )
    return worker.train(folder, policy, accumulate, 0.0)


@cache
def uninterrupted(policy: str = "none", accumulate: int = 1) -> str:
    """What a run that nobody ends gives."""
    return worker.train(None, policy, accumulate, 0.0)


CASES = [("none", 1), ("budget", 1), ("freeze", 2)]


@pytest.mark.parametrize("kill_at", range(1, STEPS + 1))
@pytest.mark.parametrize(("policy", "accumulate"), CASES)
def test_killed_at_any_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    accumulate: int,
    kill_at: int,
) -> None:
    wanted = uninterrupted(policy, accumulate)
    with pytest.raises(KilledError):
        trained(tmp_path, monkeypatch, policy, accumulate, kill_at)
    saved = (tmp_path / CHECKPOINT).is_file()
    assert saved == (kill_at >= accumulate), "only between optimizer steps"
    assert trained(tmp_path, monkeypatch, policy, accumulate) == wanted


def test_killed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kill_at in (3, 6):
        with pytest.raises(KilledError):
            trained(tmp_path, monkeypatch, kill_at=kill_at)
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) == 6
    assert trained(tmp_path, monkeypatch) == uninterrupted()


def test_frozen_weights_are_in_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {}
    for policy in ("none", "budget"):
        with pytest.raises(KilledError):
            trained(tmp_path / policy, monkeypatch, policy, kill_at=3)
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


def test_sigkill_then_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Worker(tmp_path, "budget")) as process:
        process.until(3)
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    assert trained(tmp_path, monkeypatch, "budget") == uninterrupted("budget")


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


def test_sigterm_saves_although_no_checkpoint_was_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Worker(tmp_path, minutes=None)) as process:
        process.until(4)
        assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) in (4, 5)
    assert trained(tmp_path, monkeypatch) == uninterrupted()


@pytest.mark.parametrize(("asked_at", "saved_at"), [(4, 6), (7, STEPS)])
def test_sigterm_amid_accumulated_gradients_waits_for_their_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_at: int, saved_at: int
) -> None:
    with closing(Worker(tmp_path, accumulate=3, minutes=None)) as process:
        process.until(asked_at)
        assert process.end(signal.SIGTERM) == 128 + signal.SIGTERM
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) == saved_at
    wanted = uninterrupted(accumulate=3)
    assert trained(tmp_path, monkeypatch, accumulate=3) == wanted


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_a_checkpoint_cut_short_is_named_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int
) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, monkeypatch, kill_at=3)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=f"{path} is damaged"):
        checkpoint_in(tmp_path)
    assert path.stat().st_size == keep


def test_a_flipped_bit_of_a_checkpoint_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch would load it, and the run go on to other weights."""
    with pytest.raises(KilledError):
        trained(tmp_path, monkeypatch, kill_at=3)
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
        trained(tmp_path, monkeypatch, kill_at=3)
    assert checkpoint_in(tmp_path) == tmp_path / CHECKPOINT
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_disk_that_is_full_is_named_and_keeps_no_half_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        trained(tmp_path, monkeypatch, kill_at=2)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, hard))
    try:
        with pytest.raises(StoreError, match=r"last.ckpt: the disk is full"):
            trained(tmp_path, monkeypatch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert (tmp_path / CHECKPOINT).read_bytes() == kept, "what there was is gone on from"
    assert trained(tmp_path, monkeypatch) == uninterrupted()


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


def test_sigterm_during_the_last_look_ends_the_run_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = uninterrupted()
    never = {"match": TermWhileLooking(0.0, 1), "sample": tiny.conversations(2)}
    with pytest.raises(SystemExit) as ended:
        worker.train(tmp_path, "none", 1, None, **never)
    assert ended.value.code == 143
    assert (tmp_path / CHECKPOINT).is_file()
    assert trained(tmp_path, monkeypatch) == wanted


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
    assert trained(tmp_path, monkeypatch) == wanted


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
    assert trained(tmp_path, monkeypatch) == wanted


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
    assert trained(tmp_path / "own", monkeypatch) == wanted
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int, saved_at: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    given = {"match": CtrlC(0.0, 1), "sample": tiny.conversations(2)}
    with pytest.raises(KeyboardInterrupt):
        worker.train(tmp_path, "none", accumulate, None, **given)
    assert signal.getsignal(signal.SIGINT) is before
    content = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert len(content["losses"]) == saved_at
    wanted = uninterrupted(accumulate=accumulate)
    assert trained(tmp_path, monkeypatch, accumulate=accumulate) == wanted


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
