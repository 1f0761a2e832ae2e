"""Callbacks of a user's own: they see every step, killed or not, and change no weight."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.errors import ConfigError, SsahWarning
from ssah_exp.models.load import LoadedModel
from ssah_exp.training.loop import TrainingSummary, fine_tune, supervised_run
from ssah_exp.training.resume import CHECKPOINT
from ssah_exp.training.watching import Watcher, watched_by
from tests import tiny
from tests.training.resuming import KilledError, killed_at
from tests.training.test_tracking import EXAMPLES

CPU = TrainerConfig(accelerator="cpu", progress=False, checkpoint_minutes=0)
STEPS = 10  # nine conversations in batches of two, twice


class Losses(Watcher):
    """Adds up what the module says of every batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        self.seen.append(pl_module.losses[-1])

    def state_dict(self) -> dict[str, Any]:
        return {"seen": torch.tensor(self.seen, dtype=torch.float64)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seen = state_dict["seen"].tolist()

    def watched(self) -> Mapping[str, float]:
        return {"sum": math.fsum(self.seen), "steps": len(self.seen), "none": math.nan}


class Silent(pl.Callback):
    """A plain callback, with nothing to say."""


def train(loaded: LoadedModel, folder: Path | None = None, **own: pl.Callback) -> TrainingSummary:
    config = TuningConfig(epochs=2, batch_size=2, learning_rate=1e-2)
    run = replace(
        supervised_run(loaded, EXAMPLES, config, 0, CPU), checkpoints=folder, callbacks=own
    )
    return fine_tune(loaded, run)[0]


def test_it_sees_every_step_and_its_numbers_are_in_the_summary() -> None:
    summary = train(tiny.tiny_loaded(), losses=Losses(), silent=Silent())
    assert summary.watched == {
        "losses": {"sum": math.fsum(summary.losses), "steps": STEPS, "none": None}
    }
    assert summary.as_dict()["watched"] == summary.watched
    assert "watched" not in train(tiny.tiny_loaded(), silent=Silent()).as_dict()


def test_watching_changes_no_weight() -> None:
    watched, alone = tiny.tiny_loaded(), tiny.tiny_loaded()
    train(watched, losses=Losses())
    train(alone)
    for one, other in zip(watched.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kill_at", [1, 4, 9])
def test_a_killed_run_says_the_same(tmp_path: Path, kill_at: int) -> None:
    wanted = train(tiny.tiny_loaded(), losses=Losses()).watched
    with killed_at(kill_at), pytest.raises(KilledError):
        train(tiny.tiny_loaded(), tmp_path, losses=Losses())
    assert (tmp_path / CHECKPOINT).is_file()
    assert train(tiny.tiny_loaded(), tmp_path, losses=Losses()).watched == wanted


class Forgetful(Losses):
    """Keeps a number of numpy's, which no checkpoint gives back."""

    def state_dict(self) -> dict[str, Any]:
        return {"seen": np.float64(1.0)}


def test_what_a_checkpoint_could_not_give_back_is_not_saved(tmp_path: Path) -> None:
    """After a kill, a sound file would be called damaged, and hours of training be lost."""
    with pytest.raises(ConfigError, match=r"state_dict\(\) of the callback Forgetful"):
        train(tiny.tiny_loaded(), tmp_path, losses=Forgetful())
    assert not (tmp_path / CHECKPOINT).exists()


class Unpicklable(Losses):
    """Keeps what nothing can write down."""

    def state_dict(self) -> dict[str, Any]:
        return {"rule": lambda: 1}


def test_what_callbacks_keep_is_looked_at_before_the_first_step(tmp_path: Path) -> None:
    losses = Unpicklable()
    with pytest.raises(ConfigError, match=r"state_dict\(\) of the callback Unpicklable"):
        train(tiny.tiny_loaded(), tmp_path, losses=losses)
    assert losses.seen == []


class Intrusive(Losses):
    """Puts a number of numpy's into the checkpoint itself."""

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = np.float64(1.0)


def test_what_a_callback_puts_into_the_checkpoint_is_looked_at_as_well(tmp_path: Path) -> None:
    """The file was called damaged when it was needed."""
    train(tiny.tiny_loaded(), tmp_path, losses=Losses())
    before = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).rename(tmp_path / "whole")
    with pytest.raises(ConfigError, match=r"on_save_checkpoint\(\) holds what"):
        train(tiny.tiny_loaded(), tmp_path, losses=Intrusive())
    assert {path.name for path in tmp_path.iterdir()} == {"whole"}
    assert (tmp_path / "whole").read_bytes() == before


class Failing(Losses):
    """Has seen nothing that it could divide by."""

    def watched(self) -> dict[str, float]:
        return {"mean": 1 / 0}


def test_a_watcher_that_fails_does_not_cost_the_training() -> None:
    with pytest.warns(SsahWarning, match="bad fails in watched.*ZeroDivisionError"):
        summary = train(tiny.tiny_loaded(), bad=Failing(), losses=Losses())
    assert set(summary.watched) == {"losses"}


class Saying(Watcher):
    """Says what it was told to."""

    def __init__(self, **numbers: Any) -> None:
        self.numbers = numbers

    def watched(self) -> Mapping[str, float]:
        return self.numbers


def test_what_a_watcher_says_fits_into_a_record() -> None:
    """JSON holds neither tensors nor infinities; the training would end without a record."""
    own = Saying(tensor=torch.tensor(0.5), numpy=np.float32(0.25), high=math.inf, low=-math.inf)
    found = watched_by({"own": own, "silent": Silent(), "empty": Saying()})
    assert found == {"own": {"tensor": 0.5, "numpy": 0.25, "high": None, "low": None}}
    assert json.loads(json.dumps(found)) == found
