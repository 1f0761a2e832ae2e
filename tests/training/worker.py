"""One fine-tuning in a process of its own, for tests that kill it. Says every batch as it goes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.interventions.plan import plan_training
from ssah_exp.training.loop import fine_tune, supervised_run
from tests import tiny
from tests.training.calling import with_callback
from tests.training.planning import some_units


class Announce(pl.Callback):
    """Tells the test how far the run is, and waits until it is told to go on."""

    def __init__(self, test: Connection) -> None:
        self.test = test

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        self.test.send(len(pl_module.losses))
        self.test.recv()


def digest(model: torch.nn.Module) -> str:
    state = hashlib.sha256()
    for _, item in model.named_parameters():
        state.update(item.detach().numpy().tobytes())
    return state.hexdigest()


def train(
    folder: Path | None, policy: str, accumulate: int, minutes: float | None, **more: Any
) -> str:
    """Train a tiny model; how many weights changed, and a digest of all of them.

    ``more`` are other fields of the run.
    """
    loaded = tiny.tiny_loaded("llama_gqa")
    config = TuningConfig(epochs=2, batch_size=3, learning_rate=1e-2, weight_decay=0.1)
    run = replace(
        supervised_run(
            loaded,
            tiny.conversations(10),
            config,
            seed=3,
            trainer=TrainerConfig(accelerator="cpu", progress=False, checkpoint_minutes=minutes),
        ),
        accumulate=accumulate,
        checkpoints=folder,
        **more,
    )
    selected = None if policy == "none" else some_units(loaded.model)
    plan = plan_training(loaded.model, policy, selected)
    summary, certificate = fine_tune(loaded, run, plan)
    return f"{summary.steps} {certificate.changed_weights} {digest(loaded.model)}"


def main(test: Connection, training: Callable[[], object]) -> None:
    torch.set_num_threads(1)
    with with_callback(Announce(test)):
        training()
