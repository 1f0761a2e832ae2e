"""Accumulated gradients are the mean over their step's batches, also where the last has fewer."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.config.trainer import make_trainer
from ssah_exp.training import loop
from ssah_exp.training.loop import fine_tune, supervised_run
from ssah_exp.training.objectives import SupervisedObjective
from tests import tiny

BATCHES, EACH = 5, 3  # steps of three batches and of two


class Gradients(pl.Callback):
    """Keeps what every step is given."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        named = pl_module.model.named_parameters()
        self.steps.append({name: item.grad.clone() for name, item in named})


def test_every_step_has_the_mean_gradient_of_its_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, seen = tiny.tiny_loaded("llama_gqa"), Gradients()
    before = {name: item.detach().clone() for name, item in loaded.model.named_parameters()}
    make = make_trainer
    monkeypatch.setattr(
        loop,
        "make_trainer",
        lambda config, callbacks, **rest: make(config, [*callbacks, seen], **rest),
    )
    # So small a rate that weights stay what they are to rounding.
    config = TuningConfig(epochs=1, batch_size=2, learning_rate=1e-8, gradient_clip=0)
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    examples = tiny.conversations(2 * BATCHES)
    run = supervised_run(loaded, examples, config, 0, trainer, accumulate=EACH)
    losses = fine_tune(loaded, run)[0].losses
    model, batches = loaded.model, list(run.loader_of())
    model.load_state_dict(before, strict=False)
    assert len(seen.steps) == 2
    for given, some in zip(seen.steps, (batches[:EACH], batches[EACH:]), strict=True):
        model.zero_grad()
        for batch in some:
            (SupervisedObjective().loss(model, batch) / len(some)).backward()  # type: ignore[no-untyped-call]
        for name, item in model.named_parameters():
            assert item.grad is not None
            torch.testing.assert_close(given[name], item.grad, rtol=1e-2, atol=2e-5)
    wanted = [float(SupervisedObjective().loss(model, batch).detach()) for batch in batches]
    assert losses == pytest.approx(wanted, rel=1e-4), "what is reported is not weighted"
