"""Accumulated gradients are the mean over their step's batches, also where the last has fewer."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.config.trainer import make_trainer
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.training import loop
from ssah_exp.training.loop import fine_tune, supervised_run
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.tuned import tuned_weights
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


def test_bfloat16_gradients_add_up_in_float32() -> None:
    """Each batch's share is below the spacing of the sum of all of them."""
    count, model = 512, tiny.tiny_model("llama_gqa", dtype=torch.bfloat16)
    with tuned_weights(model, plan_training(model, "none", None)) as tuned:
        masters = tuned.optimizer_parameters()
        for _ in range(count):
            tuned.before_batch()
            for item in model.parameters():
                # What backward does: from the second batch on it adds to what is there.
                share = torch.full_like(item, 1 / count)
                item.grad = share if item.grad is None else item.grad + share
        tuned.before_step()
    for master in masters:
        assert master.grad is not None
        torch.testing.assert_close(master.grad, torch.ones_like(master))


def test_a_run_gives_its_optimizer_the_float32_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.tiny_loaded("llama_gqa", dtype=torch.bfloat16)
    given: list[list[torch.Tensor]] = []
    hand_over = FineTuning.on_before_optimizer_step

    def watched(module: FineTuning, optimizer: Any) -> None:
        hand_over(module, optimizer)
        given.append([item.grad.clone() for item in optimizer.param_groups[0]["params"]])

    monkeypatch.setattr(FineTuning, "on_before_optimizer_step", watched)
    # So small a rate that no bfloat16 weight moves.
    config = TuningConfig(epochs=1, batch_size=2, learning_rate=1e-8, gradient_clip=0)
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    run = supervised_run(loaded, tiny.conversations(2 * EACH), config, 0, trainer, accumulate=EACH)
    with pytest.raises(ModelError, match="changed"):
        fine_tune(loaded, run)
    wanted = [torch.zeros_like(item, dtype=torch.float32) for item in loaded.model.parameters()]
    for batch in run.loader_of():
        loaded.model.zero_grad()
        (SupervisedObjective().loss(loaded.model, batch) / EACH).backward()  # type: ignore[no-untyped-call]
        for total, item in zip(wanted, loaded.model.parameters(), strict=True):
            assert item.grad is not None
            total += item.grad.float()
    assert len(given) == 1
    for found, total in zip(given[0], wanted, strict=True):
        torch.testing.assert_close(found, total, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("changes", "accumulate", "message"),
    [
        ({}, 4, "accumulate=4: there are no more than 3 batches"),
        ({"warmup_share": 0.7}, 1, r"warmup_share=0.7 of 3 steps is 3: the learning rate would"),
    ],
)
def test_what_is_longer_than_the_data_is_refused(
    changes: dict[str, float], accumulate: int, message: str
) -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    config = TuningConfig(epochs=1, batch_size=2, **changes)  # type: ignore[arg-type]
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    run = supervised_run(loaded, tiny.conversations(6), config, 0, trainer, accumulate=accumulate)
    with pytest.raises(ConfigError, match=message):
        fine_tune(loaded, run)
