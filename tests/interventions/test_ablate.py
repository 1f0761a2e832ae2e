"""Ablation through hooks, against weights edited by hand."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from ssah_exp.config.vocabulary import FILLS
from ssah_exp.errors import UnitError
from ssah_exp.interventions.ablate import Ablation, ablated, fill_values, plan_ablation
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.sizes import KINDS, Anatomy
from ssah_exp.units.statistics import ChannelStatistics, KindStatistics
from tests import tiny

IDS, MASK = tiny.padded([tiny.random_words(12, 0), tiny.random_words(7, 1)])


def statistics(anatomy: Anatomy, seed: int, tokens: int) -> ChannelStatistics:
    draw = torch.Generator().manual_seed(seed)
    by_kind = {}
    for kind in KINDS:
        shape = (anatomy.layers, anatomy.channels(kind))
        mean = torch.randn(shape, generator=draw, dtype=torch.float64)
        by_kind[kind] = KindStatistics(mean, mean.abs(), mean.abs())
    return ChannelStatistics(tokens, 5, by_kind)


def fills_of(anatomy: Anatomy, fill: str) -> dict:
    return fill_values(fill, statistics(anatomy, 1, 30), statistics(anatomy, 2, 10))


def some_units(anatomy: Anatomy, seed: int = 0, share: float = 0.2) -> np.ndarray:
    selected = np.random.default_rng(seed).random(anatomy.units) < share
    selected[0] = True  # the first head
    selected[-1] = True  # the last neuron of the last block
    return selected


def channels_of(selected: np.ndarray, anatomy: Anatomy, layer: int) -> dict[str, list[int]]:
    """Units to channels by counting, in the order heads then neurons, block by block."""
    start = layer * (anatomy.heads + anatomy.neurons)
    attention = [
        head * anatomy.head_dim + at
        for head in range(anatomy.heads)
        if selected[start + head]
        for at in range(anatomy.head_dim)
    ]
    first = start + anatomy.heads
    mlp = [neuron for neuron in range(anatomy.neurons) if selected[first + neuron]]
    return {"attention": attention, "mlp": mlp}


def edited(model: PreTrainedModel, selected: np.ndarray, fills: dict | None) -> PreTrainedModel:
    """A copy without the units' columns; their constant contribution becomes a bias."""
    anatomy = read_anatomy(model)
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer, block in enumerate(model.model.layers):
            modules = {"attention": block.self_attn.o_proj, "mlp": block.mlp.down_proj}
            for kind, columns in channels_of(selected, anatomy, layer).items():
                module = modules[kind]
                if fills is not None:
                    constant = fills[kind][layer, columns].to(module.weight.dtype)
                    bias = module.weight[:, columns] @ constant
                    module.bias = nn.Parameter(bias + (0 if module.bias is None else module.bias))
                module.weight[:, columns] = 0
    return model


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(input_ids=IDS, attention_mask=MASK).logits[MASK.bool()]


@pytest.mark.parametrize("fill", FILLS)
def test_equals_editing_the_weights(family: str, fill: str) -> None:
    model = tiny.tiny_model(family)
    anatomy = read_anatomy(model)
    selected, fills = some_units(anatomy), fills_of(anatomy, fill)
    with ablated(model, plan_ablation(selected, anatomy, fills)):
        ours = logits(model)
    torch.testing.assert_close(ours, logits(edited(model, selected, fills)), rtol=1e-3, atol=1e-3)
    assert float((ours - logits(model)).abs().median()) > 0.05


def test_zero_fill_equals_zeroing_columns(family: str) -> None:
    model = tiny.tiny_model(family)
    anatomy = read_anatomy(model)
    selected = some_units(anatomy)
    with ablated(model, plan_ablation(selected, anatomy, fills_of(anatomy, "zero"))):
        ours = logits(model)
    torch.testing.assert_close(ours, logits(edited(model, selected, None)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("unit", [0, 3, 4, 59, 60, 2 * 60 + 3, 179])
def test_single_units_land_in_the_right_place(unit: int) -> None:
    model = tiny.tiny_model("llama_wide_heads", dtype=torch.float64)
    anatomy = read_anatomy(model)
    selected, fills = np.arange(anatomy.units) == unit, fills_of(anatomy, "safety")
    with ablated(model, plan_ablation(selected, anatomy, fills)):
        ours = logits(model)
    torch.testing.assert_close(ours, logits(edited(model, selected, fills)), rtol=1e-4, atol=1e-4)
    assert float((ours - logits(model)).abs().max()) > 1e-2


def test_fill_values() -> None:
    anatomy = tiny.small_anatomy()
    safety, utility = statistics(anatomy, 1, 30), statistics(anatomy, 2, 10)
    for kind in KINDS:
        values = {fill: fill_values(fill, safety, utility)[kind] for fill in FILLS}
        first, second = safety.by_kind[kind].mean, utility.by_kind[kind].mean
        assert torch.equal(values["safety"], first)
        assert torch.equal(values["utility"], second)
        torch.testing.assert_close(values["pooled"], (first * 30 + second * 10) / 40)
        assert values["zero"].count_nonzero() == 0
        assert values["zero"].shape == first.shape


def test_unknown_fill_is_an_error() -> None:
    anatomy = tiny.small_anatomy()
    with pytest.raises(UnitError, match="safety, utility, pooled, zero"):
        fills_of(anatomy, "mean")


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny.tiny_model("llama_gqa")


@pytest.fixture
def ablation(model: PreTrainedModel) -> Ablation:
    anatomy = read_anatomy(model)
    return plan_ablation(some_units(anatomy), anatomy, fills_of(anatomy, "pooled"))


@pytest.mark.parametrize("raises", [False, True])
def test_nothing_is_left_behind(model: PreTrainedModel, ablation: Ablation, raises: bool) -> None:
    before, weights = logits(model), copy.deepcopy(model.state_dict())

    def use() -> None:
        with ablated(model, ablation):
            assert not torch.allclose(logits(model), before)
            if raises:
                raise KeyError

    if raises:
        with pytest.raises(KeyError):
            use()
    else:
        use()
    assert tiny.pre_hooks(model) == 0
    assert torch.equal(logits(model), before)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_hooks_placed_before_a_failure_are_removed(
    model: PreTrainedModel, ablation: Ablation
) -> None:
    del model.model.layers[2].mlp.down_proj
    with pytest.raises(AttributeError), ablated(model, ablation):
        pass
    assert tiny.pre_hooks(model) == 0


def test_gradients_flow_after_a_pass_in_inference_mode(
    model: PreTrainedModel, ablation: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GCG does: it measures, then takes gradients. On a GPU, masks are copied to the device."""
    to = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor,
        "to",
        lambda self, *given, **named: to(self, *given, **{**named, "copy": True}),
    )
    given = model.get_input_embeddings()(IDS).detach().requires_grad_()
    with ablated(model, ablation):
        with torch.inference_mode():
            logits(model)
        model(inputs_embeds=given, attention_mask=MASK).logits.sum().backward()
    assert given.grad is not None
    assert float(given.grad.abs().max()) > 0


def test_other_peoples_hooks_survive(model: PreTrainedModel, ablation: Ablation) -> None:
    calls: list[str] = []
    modules = [model.model.layers[0].mlp.down_proj, model.model.layers[0].self_attn.o_proj]
    for module in modules:
        module.register_forward_pre_hook(lambda *_: calls.append("before"))
        module.register_forward_hook(lambda *_: calls.append("after"))
    with ablated(model, ablation):
        modules[0].register_forward_pre_hook(lambda *_: calls.append("inside"))
        logits(model)
    assert sorted(calls) == ["after", "after", "before", "before", "inside"]
    calls.clear()
    logits(model)
    assert sorted(calls) == ["after", "after", "before", "before", "inside"]


def test_blocks_without_ablated_units_carry_no_hook(model: PreTrainedModel) -> None:
    anatomy = read_anatomy(model)
    selected = np.arange(anatomy.units) == anatomy.heads + anatomy.neurons  # layer 1, head 0
    plan = plan_ablation(selected, anatomy, fills_of(anatomy, "zero"))
    with ablated(model, plan):
        assert tiny.pre_hooks(model) == 1
        assert len(model.model.layers[1].self_attn.o_proj._forward_pre_hooks) == 1


def test_half_precision_stays_half_precision() -> None:
    model = tiny.tiny_model("llama_gqa", dtype=torch.bfloat16)
    anatomy = read_anatomy(model)
    plan = plan_ablation(some_units(anatomy), anatomy, fills_of(anatomy, "pooled"))
    with ablated(model, plan):
        assert logits(model).dtype == torch.bfloat16


def test_empty_selection_is_an_error() -> None:
    anatomy = tiny.small_anatomy()
    with pytest.raises(UnitError, match="nothing to ablate"):
        plan_ablation(np.zeros(anatomy.units, dtype=bool), anatomy, fills_of(anatomy, "zero"))


@pytest.mark.parametrize("size", [0, 11, 13])
def test_wrong_length_is_an_error(size: int) -> None:
    anatomy = tiny.small_anatomy()
    with pytest.raises(UnitError, match=f"{size} units given for a model of 12"):
        plan_ablation(np.ones(size, dtype=bool), anatomy, fills_of(anatomy, "zero"))


def changed_fill(ablation: Ablation, kind: str, *, under_mask: bool) -> Ablation:
    at = (ablation.masks[kind] == under_mask).nonzero()[0]
    fill = ablation.fills[kind].clone()
    fill[tuple(at)] += 1e-6
    return replace(ablation, fills={**ablation.fills, kind: fill})


@pytest.mark.parametrize("kind", KINDS)
def test_fingerprint_sees_the_fill_under_the_mask_only(ablation: Ablation, kind: str) -> None:
    same = changed_fill(ablation, kind, under_mask=False)
    assert same.fingerprint == ablation.fingerprint
    other = changed_fill(ablation, kind, under_mask=True)
    assert other.fingerprint != ablation.fingerprint


@pytest.mark.parametrize("unit", [1, 30, 179])
def test_fingerprint_sees_the_mask(model: PreTrainedModel, unit: int) -> None:
    anatomy = read_anatomy(model)
    selected, fills = some_units(anatomy), fills_of(anatomy, "zero")
    toggled = selected ^ (np.arange(anatomy.units) == unit)
    first, again, other = (
        plan_ablation(chosen, anatomy, fills).fingerprint
        for chosen in (selected, selected.copy(), toggled)
    )
    assert first == again != other


def test_fingerprint_sees_where_units_are(model: PreTrainedModel) -> None:
    """As many units, with the same constants."""
    anatomy = read_anatomy(model)
    fills = fills_of(anatomy, "zero")
    plans = [
        plan_ablation(np.arange(anatomy.units) == unit, anatomy, fills) for unit in (10, 11, 70)
    ]
    assert len({plan.fingerprint for plan in plans}) == 3
