"""One fine-tuning in a process of its own, for tests that kill it. Prints ``step N`` as it goes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.interventions.plan import plan_training
from ssah_exp.training import loop
from ssah_exp.training.loop import fine_tune, supervised_run
from tests import tiny
from tests.training.test_plan import some_units


class Announce(pl.Callback):
    """Tells the test how far the run is, and waits until it is told to go on."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        print(f"step {len(pl_module.losses)}", flush=True)
        sys.stdin.readline()


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
    run = supervised_run(
        loaded,
        tiny.conversations(10),
        config,
        seed=3,
        trainer=TrainerConfig(accelerator="cpu", progress=False, checkpoint_minutes=minutes),
        accumulate=accumulate,
        checkpoints=folder,
        **more,
    )
    selected = None if policy == "none" else some_units(loaded.model)
    plan = plan_training(loaded.model, policy, selected)
    summary, certificate = fine_tune(loaded, run, plan)
    return f"{summary.steps} {certificate.changed_weights} {digest(loaded.model)}"


def main(folder: str, policy: str, accumulate: str, minutes: str) -> None:
    torch.set_num_threads(1)
    make = loop.make_trainer
    loop.make_trainer = lambda config, callbacks, **rest: make(  # type: ignore[assignment]
        config, [*callbacks, Announce()], **rest
    )
    every = None if minutes == "never" else float(minutes)
    print(train(Path(folder), policy, int(accumulate), every), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
