"""Hooks on layers that other modules stand in for while a model is trained."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
import torch
from transformers import PreTrainedModel

from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.attached.llama_adapter import AdaptionPrompts
from ssah_exp.training.adapters.adapter import installed
from ssah_exp.training.tuned import Trainable, tuned_weights
from tests.tiny import pre_hooks, tiny_model
from tests.training.adapting import adapter_of, every_other, given_plan, logits_of, randomise

pytest.importorskip("peft")


def training(model: PreTrainedModel, way: str) -> AbstractContextManager[Trainable]:
    """A model that is trained in part, or through an adapter that is merged."""
    if way in ("compact", "masked"):
        plan = plan_training(model, "freeze", every_other(model))
        return tuned_weights(model, plan, "compact" if way == "compact" else "masked")
    adapter = adapter_of(way)
    return installed(adapter, model, adapter.plan(model, given_plan(model, way)))


@pytest.mark.parametrize("way", ["compact", "masked", "lora", "unit_lora"])
def test_a_model_that_carries_prompts_is_trained_with_them(way: str) -> None:
    model = tiny_model("llama_gqa")
    plain = logits_of(model)
    attached = AdaptionPrompts.new(model, 3, 2)
    randomise(attached)
    before = logits_of(model)
    assert not torch.allclose(before, plain, atol=0.1)
    with training(model, way) as trained:
        assert torch.equal(logits_of(model), before)
        generator = torch.Generator().manual_seed(3)
        for item in trained.optimizer_parameters():
            item.data.add_(0.1 * torch.randn(item.shape, generator=generator))
        trained.after_step()
        moved = logits_of(model)
    assert not torch.allclose(moved, before, atol=0.1)
    torch.testing.assert_close(logits_of(model), moved, atol=1e-4, rtol=1e-4)
    attached.detach()
    assert pre_hooks(model) == 0
