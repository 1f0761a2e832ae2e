"""Training slices: both exact paths against an oracle that masks gradients by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from ssah_exp.config.schema import OthersConfig
from ssah_exp.data.loaders import Batch, Collate
from ssah_exp.interventions.plan import Slice, TrainingPlan, plan_training
from ssah_exp.models.logits import token_losses
from ssah_exp.models.recomputing import recompute_activations
from ssah_exp.training.tuned import TunedWeights, tuned_weights
from tests import tiny
from tests.training.planning import masks_of, some_units

DECAY, RATE = 0.1, 1e-2
OUTPUT_BIASES = ("o_proj.bias", "down_proj.bias")


def batches(count: int = 3) -> list[Batch]:
    return [Collate(0)(tiny.conversations(4, seed=at)) for at in range(count)]


def loss_of(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    return token_losses(model, batch.input_ids, batch.attention_mask, batch.response_mask).mean()


def adam(parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)


def oracle(model: PreTrainedModel, plan: TrainingPlan, steps: list[list[Batch]]) -> None:
    """Full gradients, multiplied by masks; frozen entries put back after each step."""
    masks, before = masks_of(model, plan), dict(model.named_parameters())
    before = {name: item.detach().clone() for name, item in before.items()}
    optimizer = adam(list(model.parameters()))
    for step in steps:
        optimizer.zero_grad()
        for batch in step:
            (loss_of(model, batch) / len(step)).backward()
        for name, item in model.named_parameters():
            item.grad *= masks[name]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, item in model.named_parameters():
                item.copy_(torch.where(masks[name], item, before[name]))


def train(tuned: TunedWeights, model: PreTrainedModel, steps: list[list[Batch]]) -> None:
    parameters = tuned.optimizer_parameters()
    optimizer = adam(parameters)
    for step in steps:
        optimizer.zero_grad()
        for batch in step:
            (loss_of(model, batch) / len(step)).backward()
        tuned.before_step()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        tuned.after_step()


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: item.detach().clone() for name, item in model.named_parameters()}


@pytest.fixture(params=["compact", "masked"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("policy", ["freeze", "budget"])
def test_equals_masking_gradients(family: str, policy: str, path: str) -> None:
    steps = [[batch] for batch in batches()]
    model, plain = tiny.tiny_model(family), tiny.tiny_model(family)
    plan = plan_training(model, policy, some_units(model))
    before = weights(model)
    oracle(plain, plan, steps)
    with tuned_weights(model, plan, path) as tuned:  # type: ignore[arg-type]
        train(tuned, model, steps)
    after, wanted, masks = weights(model), weights(plain), masks_of(model, plan)
    for name, mask in masks.items():
        assert torch.equal(after[name][~mask], before[name][~mask]), f"{name} is frozen"
        # Adam divides by the size of the gradient: rounding of tiny ones shows. A step is 1e-2.
        torch.testing.assert_close(after[name], wanted[name], rtol=1e-3, atol=2e-4)
    moved = sum(int((after[n] != before[n]).sum()) for n in after)
    assert moved > 0.5 * plan.changeable(model)


@pytest.mark.parametrize("policy", ["freeze", "budget"])
def test_biases_of_output_projections_are_no_unit_s(policy: str, path: str) -> None:
    """Columns are trained beside them; they themselves go with the norms, whole or not at all."""
    model, plain = (
        tiny.tiny_model("llama_gqa", attention_bias=True, mlp_bias=True) for _ in range(2)
    )
    plan, steps = plan_training(model, policy, some_units(model)), [[one] for one in batches()]
    biases = {name for name, _ in model.named_parameters() if name.endswith(OUTPUT_BIASES)}
    assert biases
    assert biases <= {*(plan.whole if policy == "freeze" else plan.frozen)}
    oracle(plain, plan, steps)
    with tuned_weights(model, plan, path) as tuned:  # type: ignore[arg-type]
        train(tuned, model, steps)
    for name, item in weights(model).items():
        torch.testing.assert_close(item, weights(plain)[name], rtol=1e-3, atol=2e-4)


def test_a_plan_may_hold_entries_of_a_bias_alone(path: str) -> None:
    model = tiny.tiny_model("qwen2")
    name, before = "model.layers.0.self_attn.q_proj.bias", weights(model)
    size = model.get_parameter(name).numel()
    plan = TrainingPlan.of(model, [Slice(name, 0, torch.tensor([1, 4]), size)])
    with tuned_weights(model, plan, path) as tuned:  # type: ignore[arg-type]
        train(tuned, model, [[batch] for batch in batches(1)])
    moved = {key: item.ne(before[key]).nonzero() for key, item in weights(model).items()}
    assert {key: at.tolist() for key, at in moved.items() if len(at)} == {name: [[1], [4]]}


def test_accumulated_gradients_add_up(path: str) -> None:
    steps = [batches(2), batches(3)[1:]]
    model, plain = tiny.tiny_model("llama_gqa"), tiny.tiny_model("llama_gqa")
    plan = plan_training(model, "budget", some_units(model))
    oracle(plain, plan, steps)
    with tuned_weights(model, plan, path) as tuned:  # type: ignore[arg-type]
        train(tuned, model, steps)
    for name, item in weights(model).items():
        torch.testing.assert_close(item, weights(plain)[name], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("others", [OthersConfig(), OthersConfig(norms=True)])
def test_gradient_checkpointing_changes_nothing(others: OthersConfig, path: str) -> None:
    results = []
    for checkpointing in (False, True):
        model = tiny.tiny_model("llama_gqa")
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        plan = plan_training(model, "budget", some_units(model), others)
        with tuned_weights(model, plan, path) as tuned:  # type: ignore[arg-type]
            train(tuned, model, [[batch] for batch in batches()])
        results.append(weights(model))
    for name, item in results[0].items():
        assert torch.equal(item, results[1][name]), name


def test_checkpointing_repeats_no_more_than_in_full_training(family: str) -> None:
    """A block's last product is needed by nothing that the backward pass reads."""
    repeated = []
    for policy in ("none", "budget"):
        spent = []
        for checkpointing in (False, True):
            model = tiny.tiny_model(family)
            model.train()
            if checkpointing:
                recompute_activations(model)
            units = None if policy == "none" else some_units(model)
            with tuned_weights(model, plan_training(model, policy, units), "compact"):
                counter = FlopCounterMode(display=False)
                with counter:
                    loss_of(model, batches(1)[0]).backward()
            spent.append(counter.get_total_flops())
        repeated.append(spent[1] - spent[0])
    assert repeated[0] > 0
    assert repeated[0] == repeated[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_is_trained_through_float32_masters(path: str, dtype: torch.dtype) -> None:
    """Steps too small for bfloat16 must add up; frozen entries keep their bits."""
    model = tiny.tiny_model("llama_gqa", dtype=dtype)
    plan = plan_training(model, "budget", some_units(model), OthersConfig(norms=True))
    before = weights(model)
    with tuned_weights(model, plan, path) as tuned:  # type: ignore[arg-type]
        parameters = tuned.optimizer_parameters()
        assert {item.dtype for item in parameters} == {torch.float32}
        held = {id(item) for item in parameters}
        assert all(id(module.part) in held for module in tuned.compact_modules), "copied once"
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        for _ in range(64):
            for item in parameters:
                # An eighth of bfloat16's spacing at 1: lost if it were rounded every time.
                item.grad = torch.full_like(item, -(2.0**-10))
            optimizer.step()
            tuned.after_step()
    after, masks = weights(model), masks_of(model, plan)
    for name, mask in masks.items():
        assert after[name].dtype == dtype
        assert torch.equal(after[name][~mask], before[name][~mask])
        if mask.any():
            moved = after[name][mask].float() - before[name][mask].float()
            torch.testing.assert_close(moved, torch.full_like(moved, 2.0**-4), atol=0.02, rtol=0)


def test_without_masters_the_weights_themselves_are_moved(path: str) -> None:
    model = tiny.tiny_model("llama_gqa", dtype=torch.bfloat16)
    plan = plan_training(model, "budget", some_units(model), OthersConfig(norms=True))
    before = weights(model)
    with tuned_weights(model, plan, path, masters=False) as tuned:  # type: ignore[arg-type]
        assert {item.dtype for item in tuned.optimizer_parameters()} == {torch.bfloat16}
        train(tuned, model, [[batch] for batch in batches()])
    after, masks = weights(model), masks_of(model, plan)
    for name, mask in masks.items():
        assert torch.equal(after[name][~mask], before[name][~mask]), f"{name} is frozen"
    moved = sum(int((after[n] != before[n]).sum()) for n in after)
    assert moved > 0.5 * plan.changeable(model)


def test_without_masters_a_trained_copy_takes_memory_during_a_step_only() -> None:
    model, twin = (tiny.tiny_model("llama_gqa", dtype=torch.bfloat16) for _ in range(2))
    plan = plan_training(model, "budget", some_units(model))
    step = [[batch] for batch in batches(1)]

    def held(tuned: TunedWeights) -> int:
        return sum(item.part.untyped_storage().nbytes() for item in tuned.compact_modules)

    with tuned_weights(model, plan, "compact", masters=False) as tuned:
        assert held(tuned) > 0
        parameters = tuned.optimizer_parameters()
        loss_of(model, step[0][0]).backward()
        assert held(tuned) == 0
        tuned.before_step()
        assert held(tuned) == sum(item.nbytes for item in parameters)
        tuned.after_step()
        assert held(tuned) == 0
        train(tuned, model, step)
        kept = {name: item.clone() for name, item in tuned.state().items()}
    with tuned_weights(twin, plan, "compact", masters=False) as tuned:
        tuned.optimizer_parameters()
        tuned.load_state(kept)
        assert held(tuned) == 0
    assert all(torch.equal(item, weights(twin)[name]) for name, item in weights(model).items())


def test_before_step_hands_gradients_to_masters() -> None:
    model = tiny.tiny_model("llama_gqa", dtype=torch.bfloat16)
    with tuned_weights(model, plan_training(model, "none", None)) as tuned:
        masters = tuned.optimizer_parameters()
        loss_of(model, batches(1)[0]).backward()
        tuned.before_step()
        assert all(item.grad is not None and item.grad.dtype == torch.float32 for item in masters)
        assert all(item.grad is None for item in model.parameters())


def test_the_optimizer_sees_only_what_is_trained(family: str) -> None:
    model = tiny.tiny_model(family)
    plan = plan_training(model, "budget", some_units(model, 0.2))
    with tuned_weights(model, plan, "compact") as tuned:
        held = sum(item.numel() for item in tuned.optimizer_parameters())
    assert held == plan.changeable(model)


def modules(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        yield f"{name}: {type(module).__name__} {id(module)}"


def test_everything_is_taken_out_again_even_after_an_error(path: str) -> None:
    model = tiny.tiny_model("qwen2")
    plan = plan_training(model, "freeze", some_units(model))
    model.get_input_embeddings().requires_grad_(False)  # the caller's own
    free = [item.requires_grad for item in model.parameters()]
    before = list(modules(model))
    inside: list[str] = []

    def fail() -> None:
        inside.extend(modules(model))
        loss_of(model, batches(1)[0]).backward()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), tuned_weights(model, plan, path):  # type: ignore[arg-type]
        fail()
    assert path == "masked" or inside != before
    assert list(modules(model)) == before
    assert [item.requires_grad for item in model.parameters()] == free
    assert all(item.grad is None for item in model.parameters())
    assert not any(item._backward_hooks for item in model.parameters())


def test_a_plan_that_fails_half_way_in_is_taken_out_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a device has no memory left for one more trained copy."""
    model = tiny.tiny_model("qwen2")
    plan = plan_training(model, "freeze", some_units(model))
    model.get_input_embeddings().requires_grad_(False)  # the caller's own
    free = [item.requires_grad for item in model.parameters()]
    before, installed = list(modules(model)), TunedWeights._install_slice
    inside: list[str] = []

    def fails_at_the_last(tuned: TunedWeights, item: Slice, *given: object) -> None:
        if item is plan.slices[-1]:
            inside.extend(modules(model))
            raise torch.OutOfMemoryError
        installed(tuned, item, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(TunedWeights, "_install_slice", fails_at_the_last)
    with pytest.raises(torch.OutOfMemoryError), tuned_weights(model, plan, path):  # type: ignore[arg-type]
        pass
    assert path == "masked" or inside != before
    assert list(modules(model)) == before
    assert [item.requires_grad for item in model.parameters()] == free
    assert not any(item._backward_hooks for item in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_round_trip(path: str, dtype: torch.dtype) -> None:
    first, second = (tiny.tiny_model("llama_gqa", dtype=dtype) for _ in range(2))
    plan = plan_training(first, "budget", some_units(first), OthersConfig(norms=True))
    with tuned_weights(first, plan, path) as tuned:  # type: ignore[arg-type]
        moved = tuned.optimizer_parameters()
        with torch.no_grad():
            for item in moved:  # by less than bfloat16 can tell
                item.mul_(1 + 2**-12)
        tuned.after_step()
        state = {name: item.clone() for name, item in tuned.state().items()}
    with tuned_weights(second, plan, path) as tuned:  # type: ignore[arg-type]
        again = tuned.optimizer_parameters()
        tuned.load_state(state)
        for wanted, found in zip(moved, again, strict=True):
            assert found.dtype == torch.float32
            assert torch.equal(found, wanted)
    for name, item in weights(first).items():
        assert torch.equal(item, weights(second)[name]), name
