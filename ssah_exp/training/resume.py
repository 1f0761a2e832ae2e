"""Resuming where a killed run stopped, with the same weights in the end."""

from __future__ import annotations

import io
import pickle
import signal
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ssah_exp import ranks
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.storage import whole_path
from ssah_exp.training.module import FineTuning

CHECKPOINT = "last.ckpt"

# What cannot be pickled, and what weights_only does not load.
_NOT_PLAIN = (pickle.PickleError, AttributeError, TypeError)
_WHAT_IS_READ = (
    "holds what a checkpoint cannot give back: only tensors, numbers, text, lists and dicts of "
    "these are read (numpy's numbers are none: float(value))."
)


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` every so often, and when a scheduler or a person ends the process.

    It must come after callbacks that take long to look at the model: a signal that arrives
    meanwhile is then seen after that same step, which may be the last.

    Args:
        folder: Where the checkpoint lies.
        minutes: Least time between two checkpoints; 0 = after every step, None = only where
            SIGTERM or Ctrl+C ends the training.
    """

    def __init__(self, folder: Path, minutes: float | None) -> None:
        self._folder = folder
        self._seconds = None if minutes is None else 60 * minutes
        self._last_time = time.monotonic()
        self._asked = self._interrupted = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Put around the training: Ctrl+C ends it after the step at hand, a second one at once.

        Several ranks always go on to the end of the step: they must all end after the same one.
        """
        before = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if not main or before is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupt(self, number: int, frame: object) -> None:
        if self._interrupted and ranks.count() == 1:
            raise KeyboardInterrupt
        self._interrupted = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take SIGTERM over from Lightning, which would end after the batch at hand.

        That may be amid accumulated gradients, where nothing can be saved. Besides, several ranks
        must end after the same step, and Lightning's own handler exchanges tensors from within the
        signal, wherever the rank is.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)
        _check_states(trainer)  # not only when hours depend on it

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if somebody asked after the last step: :meth:`end_if_asked` will end the run."""
        if any(ranks.everyones(self._asked or self._interrupted)):
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the last step as any other: Lightning would skip a run whose epoch is over.

        The weights would then never be put in, which the module does as its training begins.
        """
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        epochs.update(processed=0, completed=0)

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def end_if_asked(self) -> None:
        """Call this after the training, which a signal after its last step has not ended.

        Raises:
            SIGTERMException: A scheduler asked a rank to end; nothing more is saved.
            KeyboardInterrupt: A person asked, likewise.
        """
        said = ranks.everyones((self._asked, self._interrupted))
        if any(asked for asked, _ in said):
            raise SIGTERMException
        if any(interrupted for _, interrupted in said):
            raise KeyboardInterrupt

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        """Save or end between optimizer steps, never amid accumulated gradients.

        Raises:
            SIGTERMException: A scheduler asked a rank to end.
            KeyboardInterrupt: A person asked; a checkpoint was saved.
        """
        due = self._seconds is not None and time.monotonic() - self._last_time >= self._seconds
        if not _between_steps(trainer, pl_module):
            return
        said = ranks.everyones((due, self._asked, self._interrupted))
        if any(asked for _, asked, _ in said):
            raise SIGTERMException  # on_exception saves
        interrupted = any(item for *_, item in said)
        if said[0][0] or interrupted:  # clocks differ; rank 0's counts
            self._save(trainer)
        if interrupted:
            raise KeyboardInterrupt

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Save if SIGTERM ends the run between two steps, where nothing is half done."""
        if isinstance(exception, SIGTERMException) and _between_steps(trainer, pl_module):
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        _check_states(trainer)
        path = self._folder / CHECKPOINT
        # All ranks take part in saving, and the first one writes.
        with whole_path(path) if ranks.first() else nullcontext(path) as place:
            trainer.save_checkpoint(place)
            if ranks.first():
                _check_readable(place)
        ranks.everyones(None)  # no rank ends before the file is in its place
        self._last_time = time.monotonic()


def _check_states(trainer: pl.Trainer) -> None:
    """Refuse what callbacks keep if it could not be read back, and say which one keeps it.

    Raises:
        ConfigError: A callback keeps objects that weights_only does not load.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        held = io.BytesIO()
        try:
            torch.save(callback.state_dict(), held)
            held.seek(0)
            torch.load(held, weights_only=True)
        except _NOT_PLAIN as error:
            name = type(callback).__name__
            raise ConfigError(f"state_dict() of the callback {name} {_WHAT_IS_READ}") from error


def _check_readable(path: Path) -> None:
    """Refuse a checkpoint that could not be read back, before it replaces the one before it.

    Raises:
        ConfigError: A callback has put something else into it.
    """
    try:
        torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(f"A callback's on_save_checkpoint() {_WHAT_IS_READ}") from error


def _between_steps(trainer: pl.Trainer, module: pl.LightningModule) -> bool:
    assert isinstance(module, FineTuning)
    done = len(module.losses)  # the last step may have fewer batches
    return done % trainer.accumulate_grad_batches == 0 or done == trainer.num_training_batches


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; None = nothing.

    torch writes checksums but does not check them: a file with a flipped bit would load.
    """
    try:
        with zipfile.ZipFile(path) as file:
            flipped = file.testzip()
        torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except Exception as error:  # a damaged file may fail in any way
        return type(error).__name__
    return None if flipped is None else f"the checksum of {flipped}"


def checkpoint_in(folder: Path | None) -> Path | None:
    """The checkpoint to resume from, if there is one.

    Raises:
        StoreError: There is one and it cannot be read; it is left as it is.
    """
    if folder is None or not ranks.from_first((folder / CHECKPOINT).is_file):
        return None
    path = folder / CHECKPOINT
    damage = ranks.from_first(lambda: _damage(path))
    if damage is not None:
        raise StoreError(
            f"The checkpoint {path} is damaged ({damage}). Delete it to train from the start."
        )
    warnings.filterwarnings("ignore", message=".*You're resuming from a checkpoint.*")
    return path
