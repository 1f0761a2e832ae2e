"""A whole run against the loop it stands for: schedule, decay, clipping, and what it leaves."""

from __future__ import annotations

import gc
import math
import weakref
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from ssah_exp.config.schema import AlignmentConfig, TrainerConfig, TuningConfig
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.load import LoadedModel
from ssah_exp.training import loop
from ssah_exp.training.loop import Run, fine_tune, supervised_run
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import SupervisedObjective
from ssah_exp.training.sharding import ShardedTwin
from ssah_exp.training.tuned import TunedWeights
from tests import tiny
from tests.training.planning import masks_of, some_units

RATE, DECAY, CLIP = 1e-2, 0.5, 0.05
# Of the rate, step by step: four steps, of which ``warmup_share`` makes two, rounded up.
FACTORS = (0.5, 1.0, 1.0, 0.5)
Weights = dict[str, torch.Tensor]


def run_for(loaded: LoadedModel, **more: Any) -> Run:
    """Six conversations in batches of three, twice."""
    config = TuningConfig(
        epochs=2,
        batch_size=3,
        learning_rate=RATE,
        weight_decay=DECAY,
        warmup_share=0.3,
        gradient_clip=CLIP,
    )
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    return replace(supervised_run(loaded, tiny.conversations(6), config, 0, trainer), **more)


def weights(model: nn.Module) -> Weights:
    return {name: item.detach().clone() for name, item in model.named_parameters()}


def by_hand(
    *,
    decay: float = DECAY,
    clip: float = CLIP,
    factors: tuple[float, ...] = FACTORS,
    masks: Weights | None = None,
) -> Weights:
    """``masks`` are true where a weight may change; the others get no gradient and are put back."""
    loaded = tiny.tiny_loaded("llama_gqa")
    model, loader = loaded.model.train(), run_for(loaded).loader_of()
    before, parameters = weights(model), list(model.parameters())
    masks = masks or {
        name: torch.ones_like(item, dtype=torch.bool) for name, item in before.items()
    }
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=decay)
    for factor, batch in zip(factors, [*loader, *loader], strict=True):
        optimizer.param_groups[0]["lr"] = RATE * factor
        optimizer.zero_grad()
        SupervisedObjective().loss(loaded.model, batch).backward()  # type: ignore[no-untyped-call]
        for name, item in model.named_parameters():
            item.grad *= masks[name]
        nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        for name, item in model.named_parameters():
            item.data.copy_(torch.where(masks[name], item.data, before[name]))
    return weights(model)


def furthest(one: Weights, other: Weights) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_a_run_is_adamw_with_its_schedule_decay_and_clipping() -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    fine_tune(loaded, run_for(loaded))
    trained = weights(loaded.model)
    assert furthest(trained, by_hand()) < 1e-5
    # Else the tolerance would hide what is left out.
    for other in ({"decay": 0.0}, {"clip": 1e9}, {"factors": (1.0,) * 4}):
        assert furthest(trained, by_hand(**other)) > 1e-3, other  # type: ignore[arg-type]
    assert not any(module.training for module in loaded.model.modules())
    assert all(item.grad is None for item in loaded.model.parameters())


@pytest.mark.parametrize("policy", ["budget", "freeze"])
def test_a_run_under_a_plan_is_the_same_with_masked_gradients(policy: str) -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    plan = plan_training(loaded.model, policy, some_units(loaded.model))
    before, masks = weights(loaded.model), masks_of(loaded.model, plan)
    fine_tune(loaded, run_for(loaded), plan)
    trained = weights(loaded.model)
    # Adam divides by the size of the gradient: rounding of tiny ones shows.
    assert furthest(trained, by_hand(masks=masks)) < 2e-4
    assert all(
        torch.equal(trained[name][~mask], before[name][~mask]) for name, mask in masks.items()
    )
    assert furthest(trained, before) > 1e-2


def test_masters_are_gone_before_the_loss_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """They, their gradients and the optimizer's states are several times the model."""
    masters: list[weakref.ref[nn.Parameter]] = []
    left: list[int] = []
    plain = TunedWeights.optimizer_parameters

    def kept(weights: TunedWeights) -> list[nn.Parameter]:
        parameters = plain(weights)
        masters.extend(weakref.ref(item) for item in parameters)
        return parameters

    def measured(*_: object) -> float:
        left.append(sum(item() is not None for item in masters))
        return 1.0

    monkeypatch.setattr(TunedWeights, "optimizer_parameters", kept)
    monkeypatch.setattr(loop, "mean_response_loss", measured)
    loaded = tiny.tiny_loaded("llama_gqa", dtype=torch.bfloat16)
    gc.disable()  # nothing is collected by chance
    try:
        fine_tune(loaded, run_for(loaded, sample=tiny.conversations(2)))
    finally:
        gc.enable()
    assert masters
    assert left == [0]


def test_broken_weights_are_not_blamed_on_the_learning_rate() -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    loaded.model.lm_head.weight.data[3, 5] = math.nan
    with pytest.raises(ModelError, match="training loss is nan at step 0") as caught:
        fine_tune(loaded, run_for(loaded))
    assert "lm_head.weight has NaN or infinite values: take other weights." in str(caught.value)
    assert "lower" not in str(caught.value)


def test_numbers_that_overflow_are_told_from_broken_weights() -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    loaded.model.lm_head.weight.data.fill_(3e38)
    with pytest.raises(ModelError, match=r"All weights are finite.*float32") as caught:
        fine_tune(loaded, run_for(loaded))
    assert "at step 0" in str(caught.value)


def test_an_overflow_in_shards_is_told_of_the_precision_they_compute_in() -> None:
    """Their trained weights are float32 by then; what overflows are the activations."""
    loaded = tiny.tiny_loaded("llama_gqa")
    twin = ShardedTwin(loaded.model.bfloat16())
    config = run_for(loaded).config
    module = FineTuning(twin.model, SupervisedObjective(), config, steps=1, sharding=twin)
    twin.model.float()
    assert "computed in bfloat16" in module._remedy()


def test_a_loss_that_is_infinite_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_: Any, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return 0 * next(model.parameters()).sum() + math.inf

    monkeypatch.setattr(SupervisedObjective, "loss", endless)
    loaded = tiny.tiny_loaded("llama_gqa")
    with pytest.raises(ModelError, match="training loss is inf at step 0"):
        fine_tune(loaded, run_for(loaded))


def test_a_run_may_have_other_epochs_than_its_config() -> None:
    loaded = tiny.tiny_loaded()
    run = run_for(loaded, epochs=5)
    assert run.config.epochs != 5
    summary = fine_tune(loaded, run)[0]
    assert (summary.epochs, summary.steps) == (5, 5 * len(run.loader_of()))


class Rates(pl.Callback):
    """Notes the rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, *given: Any) -> None:
        self.seen.append(given[-1].param_groups[0]["lr"])


def test_the_schedule_spans_steps_and_not_batches() -> None:
    loaded, rates = tiny.tiny_loaded("llama_gqa"), Rates()
    fine_tune(loaded, run_for(loaded, accumulate=2, epochs=4, callbacks={"rates": rates}))
    assert rates.seen == pytest.approx([RATE * factor for factor in FACTORS])


def test_a_loss_that_explodes_later_is_blamed_on_the_learning_rate() -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    run = run_for(loaded)
    run = replace(run, config=replace(run.config, learning_rate=math.inf))
    with pytest.raises(ModelError, match=r"is nan at step [1-9]; lower the learning rate\.$"):
        fine_tune(loaded, run)


def test_activations_are_recomputed_where_that_is_asked_for_and_nothing_else_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bool] = []
    step = FineTuning.training_step

    def watched(module: FineTuning, *given: Any) -> torch.Tensor:
        seen.append(module.model.is_gradient_checkpointing)
        return step(module, *given)

    monkeypatch.setattr(FineTuning, "training_step", watched)
    ended = []
    for wanted in (False, True):
        loaded = tiny.tiny_loaded("llama_gqa")
        fine_tune(loaded, run_for(loaded, gradient_checkpointing=wanted))
        assert not loaded.model.is_gradient_checkpointing
        ended.append(weights(loaded.model))
    assert seen == [False] * 4 + [True] * 4
    assert all(torch.equal(item, ended[1][name]) for name, item in ended[0].items())


def test_first_and_final_loss_are_means_over_a_tenth_of_the_batches() -> None:
    loaded = tiny.tiny_loaded()
    module: Any = SimpleNamespace(losses=[float(at) for at in range(25)], final_loss=None)
    summary = loop._summary(loaded, run_for(loaded), module)
    assert (summary.first_loss, summary.final_loss) == (0.5, 23.5)
    assert (summary.steps, summary.epochs) == (25, 12.5)


def test_what_takes_less_is_named_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee docs.")

    monkeypatch.setattr(FineTuning, "training_step", full)
    loaded = tiny.tiny_loaded("llama_gqa")
    run = run_for(loaded)
    begins = r"Tried to allocate 2 GiB\. Give "
    smaller = "a smaller "
    ends = r"training\.batch_size and as many times more \+training\.accumulate"
    one, single = r"training\.max_length\.$", replace(run.config, batch_size=1)
    for changed, wanted in (
        ({}, rf"{smaller}{ends}, or, .* \+training\.gradient_checkpointing=true\.$"),
        ({"gradient_checkpointing": True}, rf"{smaller}{ends}\.$"),
        ({"config": single, "gradient_checkpointing": True}, rf"{smaller}{one}"),
        ({"config": single}, rf"\+training\.gradient_checkpointing=true, unless .* {smaller}{one}"),
        (
            {"config": AlignmentConfig()},
            rf"{smaller}alignment\.batch_size or alignment\.max_length\.$",
        ),
    ):
        with pytest.raises(ConfigError, match=begins + wanted):
            fine_tune(loaded, replace(run, **changed))
