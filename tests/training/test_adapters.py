"""Every adapter method: trains, leaves the rest alone, is merged or saved, goes on after a kill."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from ssah_exp.config.build import build
from ssah_exp.config.schema import TrainerConfig
from ssah_exp.errors import ConfigError, ModelError, SsahError
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.attached.base import attached_to
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.models.logits import hidden_states
from ssah_exp.training.adapters.adapter import installed
from ssah_exp.training.adapters.llama_adapter import LlamaAdapter
from ssah_exp.training.adapters.lora import Lora
from ssah_exp.training.adapters.prefix import Prefix
from ssah_exp.training.adapters.unit_lora import UnitLora
from ssah_exp.training.certificate import check_certificate, save_certificate
from ssah_exp.training.loop import fine_tune
from ssah_exp.training.objectives import SupervisedObjective
from tests.config.composing import composed, names_of
from tests.tiny import conversations, pre_hooks, random_words, tiny_loaded, tiny_model
from tests.training.adapting import (
    ATTACHED,
    CASES,
    FAMILIES,
    MERGED,
    MODEL,
    Trained,
    a_batch,
    adapter_of,
    bits,
    every_other,
    given_plan,
    layout,
    logits_of,
    run_of,
    trained,
)

pytest.importorskip("peft")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Each method on each family it works on, trained once."""
    method, family = request.param
    return trained(method, family, tmp_path_factory.mktemp(f"{method}-{family}"))


def test_the_loss_falls(case: Trained) -> None:
    assert case.summary.final_loss < 0.7 * case.summary.first_loss
    assert not torch.allclose(logits_of(case.loaded.model), logits_of(case.before), atol=0.1)


def test_only_what_the_plan_names_changes(case: Trained) -> None:
    before, after = dict(case.before.named_parameters()), dict(case.loaded.model.named_parameters())
    slices = case.plan.by_name
    assert before.keys() == after.keys()
    for name, old in before.items():
        same = old == after[name]
        if name in slices:
            rest = slices[name].rest
            assert len(rest)
            assert same.index_select(slices[name].dim, rest).all()
            assert not slices[name].take(same).all()
        elif name in case.plan.whole:
            assert not same.all()
        else:
            assert same.all()


def test_the_plan_names_projections_or_nothing(case: Trained) -> None:
    every = {name for name in bits(case.before) if "proj.weight" in name}
    touched = {*case.plan.whole, *case.plan.by_name}
    assert touched == (every if case.method in MERGED else set())
    assert bool(case.plan.slices) == (case.method == "unit_lora")


def test_the_model_is_put_back_as_it_was(case: Trained) -> None:
    model = case.loaded.model
    assert layout(model) == layout(case.before)
    assert not hasattr(model, "peft_config")
    assert all(item.requires_grad and item.grad is None for item in model.parameters())
    assert not any(module.training for module in model.modules())
    if case.method in MERGED:
        assert pre_hooks(model) == 0
        assert attached_to(model) is None


def test_the_certificate_counts_what_changed(case: Trained, tmp_path: Path) -> None:
    certificate, model = case.certificate, case.loaded.model
    own = attached_to(model)
    beside = sum(item.numel() for item in own.parameters.values()) if own else 0
    weights = sum(item.numel() for item in model.parameters())
    assert certificate.changeable_weights == case.plan.changeable(model) + beside
    assert certificate.frozen_weights + certificate.changeable_weights == weights + beside
    assert 0.9 * certificate.changeable_weights < certificate.changed_weights
    assert certificate.changed_weights <= certificate.changeable_weights
    assert certificate.change_norm > 0
    save_certificate(certificate, case.plan, tmp_path)
    check_certificate(model, tmp_path)


def test_a_saved_model_gives_the_same_logits_and_answers(case: Trained) -> None:
    loaded = LoadedModel(load_model(str(case.folder), MODEL).model, case.loaded.speech)
    assert torch.equal(logits_of(loaded.model), logits_of(case.loaded.model))
    shared = random_words(6, 50)
    prompts = [Prompt((*shared, *random_words(at, at)), "raw") for at in (2, 7, 4)]
    for share in (False, True):
        decoding = Decoding(max_new_tokens=8, batch_size=3, share_prefix=share)
        answers = generate(loaded, prompts, decoding)
        assert answers == generate(case.loaded, prompts, decoding)
        assert any(answers)


def test_a_merged_folder_is_plain_transformers(case: Trained) -> None:
    plain = AutoModelForCausalLM.from_pretrained(case.folder, attn_implementation="sdpa")
    torch.nn.Module.eval(plain)
    files = {path.name for path in case.folder.iterdir()}
    if case.method in MERGED:
        assert "adapter" not in files
        assert torch.equal(logits_of(plain), logits_of(case.loaded.model))
    else:  # beside: the folder holds the untouched model
        assert sorted(path.name for path in (case.folder / "adapter").iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        assert torch.equal(logits_of(plain), logits_of(case.before))


def give_values(parameters: list[torch.nn.Parameter]) -> None:
    """As after training: no factor is zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for item in parameters:
            item.copy_(0.3 * torch.randn(item.shape, generator=generator))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", MERGED)
def test_merging_does_not_change_what_the_model_computes(method: str, family: str) -> None:
    model, adapter = tiny_model(family), adapter_of(method)
    before = logits_of(model)
    with installed(adapter, model, adapter.plan(model, given_plan(model, method))) as tuned:
        assert torch.equal(logits_of(model), before), "an untrained adapter does nothing"
        give_values(tuned.optimizer_parameters())
        unmerged = logits_of(model)
    assert not torch.allclose(unmerged, before, atol=0.1)
    torch.testing.assert_close(logits_of(model), unmerged, atol=1e-4, rtol=1e-4)


def test_merging_rounds_once_from_float32() -> None:
    model = tiny_model("llama_gqa", dtype=torch.bfloat16)
    name = "model.layers.1.mlp.up_proj"
    weight = model.get_parameter(f"{name}.weight")
    old = weight.detach().float().clone()
    for adapter in (Lora(rank=3, alpha=6), UnitLora(rank=3, alpha=6)):
        weight.data.copy_(old)
        with installed(adapter, model, adapter.plan(model, given_plan(model, "lora"))) as tuned:
            parameters = tuned.optimizer_parameters()
            assert {item.dtype for item in parameters} == {torch.float32}
            give_values(parameters)
            a, b = (tuned.state()[f"adapter/{name}.{part}"].clone() for part in "AB")
        assert torch.equal(weight, (old + 2 * (b @ a)).bfloat16())


@pytest.mark.parametrize("method", MERGED)
def test_an_adapter_that_fails_to_merge_is_taken_out(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a device has no memory left for a merged weight."""

    def fail() -> None:
        raise torch.OutOfMemoryError

    model, adapter = tiny_model("llama_gqa"), adapter_of(method)
    before, plain = layout(model), logits_of(model)
    adapted = adapter.install(model, adapter.plan(model, given_plan(model, method)))
    assert layout(model) != before
    give_values(adapted.optimizer_parameters())
    monkeypatch.setattr(adapted, "merge", fail)
    with pytest.raises(torch.OutOfMemoryError):
        adapted.finish()
    assert layout(model) == before
    assert torch.equal(logits_of(model), plain)
    assert all(item.requires_grad for item in model.parameters())


def test_unit_lora_reads_and_writes_the_chosen_units_alone() -> None:
    model = tiny_model("llama_gqa")
    plan = UnitLora(3, 6).plan(model, given_plan(model, "unit_lora"))
    rows = plan.by_name["model.layers.0.mlp.up_proj.weight"].index
    columns = plan.by_name["model.layers.0.mlp.down_proj.weight"].index
    mlp: Any = model.get_submodule("model.layers.0.mlp")
    x = torch.randn(5, 40)
    y = torch.randn(5, 56)
    up, down = mlp.up_proj(x), mlp.down_proj(y)
    with installed(UnitLora(3, 6), model, plan) as tuned:
        give_values(tuned.optimizer_parameters())
        state = tuned.state()
        a, b = (state[f"adapter/model.layers.0.mlp.up_proj.{part}"] for part in "AB")
        expected = up.clone()
        expected[:, rows] += 2 * x @ a.T @ b.T
        torch.testing.assert_close(mlp.up_proj(x), expected)
        a, b = (state[f"adapter/model.layers.0.mlp.down_proj.{part}"] for part in "AB")
        torch.testing.assert_close(mlp.down_proj(y), down + 2 * y[:, columns] @ a.T @ b.T)
        assert a.shape == (3, len(columns))
        assert b.shape == (40, 3)


def test_unit_lora_leaves_what_is_no_projection() -> None:
    model = tiny_model("qwen2")  # has biases, which belong to units as rows do
    given = plan_training(model, "freeze", every_other(model))
    assert {"model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"} <= {*given.whole}
    plan = UnitLora(2, 4).plan(model, given)
    assert all(name.endswith("proj.weight") for name in (*plan.whole, *plan.by_name))
    assert UnitLora(2, 4).plan(model, plan).frozen == plan.frozen
    assert len(plan.frozen) + len(plan.whole) + len(plan.slices) == len(bits(model))


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # Per block: q and o 40 x 40, k and v 20 x 40, gate and up 56 x 40, down 40 x 56.
        ("lora", 3 * 3 * (2 * (40 + 40) + 2 * (20 + 40) + 3 * (56 + 40))),
        # 2 of 4 heads = 1 of 2 key-value heads, 37 of 56 neurons.
        ("unit_lora", 3 * 3 * (2 * (20 + 40) + 2 * (10 + 40) + 3 * (37 + 40))),
        ("prefix", 4 * 3 * 2 * 20),
        ("llama_adapter", 2 * (4 * 40 + 1)),
    ],
)
def test_trainable_parameters_as_documented(method: str, expected: int) -> None:
    model, adapter = tiny_model("llama_gqa"), adapter_of(method)
    with installed(adapter, model, adapter.plan(model, given_plan(model, method))) as tuned:
        assert sum(item.numel() for item in tuned.optimizer_parameters()) == expected


def test_lora_on_named_projections() -> None:
    model = tiny_model("phi3")
    plan = Lora(2, 4, targets=["qkv_proj", "down_proj"]).plan(model, given_plan(model, "lora"))
    assert sorted(plan.whole) == sorted(
        f"model.layers.{block}.{name}.weight"
        for block in range(3)
        for name in ("self_attn.qkv_proj", "mlp.down_proj")
    )


# --- a run that ends badly, or goes on ---


@dataclass(frozen=True)
class Killed(SupervisedObjective):
    """The process is asked to end during one batch."""

    at: int

    def loss(self, model: Any, batch: Any) -> torch.Tensor:
        object.__setattr__(self, "at", self.at - 1)
        if self.at == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().loss(model, batch)


@pytest.mark.parametrize("method", [*MERGED, *ATTACHED])
def test_a_killed_run_goes_on_to_the_same_end(method: str, tmp_path: Path) -> None:
    def model_after(**more: Any) -> Any:
        loaded = tiny_loaded("llama_gqa")
        run = run_of(loaded, method, conversations(1), **more)
        plan = given_plan(loaded.model, method)
        summary, _ = fine_tune(loaded, run, plan, adapter_of(method))
        return loaded.model, summary

    whole, summary = model_after()
    with pytest.raises(SystemExit):
        model_after(checkpoints=tmp_path, objective=Killed(4))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["tuned"]
    assert state
    assert all(name.startswith("adapter/") for name in state)
    resumed, again = model_after(checkpoints=tmp_path)
    assert again.losses == summary.losses
    assert torch.equal(logits_of(resumed), logits_of(whole))


@pytest.mark.parametrize("method", [*MERGED, *ATTACHED])
def test_state_round_trip(method: str) -> None:
    model, adapter = tiny_model("llama_gqa"), adapter_of(method)
    plan = adapter.plan(model, given_plan(model, method))
    with installed(adapter, copy.deepcopy(model), plan) as tuned:
        give_values(tuned.optimizer_parameters())
        state = {name: item.clone() for name, item in tuned.state().items()}
    with installed(adapter, model, plan) as tuned:
        tuned.load_state(state)
        assert all(torch.equal(item, state[name]) for name, item in tuned.state().items())
        moved = torch.optim.SGD(tuned.optimizer_parameters(), lr=0.1)
        before = logits_of(model)
        ids, mask = a_batch()
        hidden_states(model, ids, mask).square().mean().backward()  # type: ignore[no-untyped-call]
        moved.step()
        assert not torch.equal(logits_of(model), before), "the optimizer steps on what is used"
        with pytest.raises(KeyError):
            tuned.load_state({})


@pytest.mark.parametrize("method", [*MERGED, *ATTACHED])
def test_a_failed_run_leaves_the_model_as_it_was(method: str) -> None:
    loaded = tiny_loaded("llama_gqa")
    before, places = bits(loaded.model), layout(loaded.model)
    run = run_of(loaded, method, learning_rate=math.inf)
    with pytest.raises(ModelError, match="training loss is nan"):
        fine_tune(loaded, run, given_plan(loaded.model, method), adapter_of(method))
    assert layout(loaded.model) == places
    assert all(torch.equal(item, before[name]) for name, item in loaded.model.named_parameters())
    assert all(item.requires_grad for item in loaded.model.parameters())
    assert pre_hooks(loaded.model) == 0
    assert attached_to(loaded.model) is None


@pytest.mark.parametrize("method", [*MERGED, *ATTACHED])
def test_an_adapter_that_did_not_change_is_an_error(method: str) -> None:
    loaded = tiny_loaded("llama_gqa")
    run = run_of(loaded, method, conversations(2), learning_rate=0.0)
    with pytest.raises(ModelError, match="changed not one weight"):
        fine_tune(loaded, run, given_plan(loaded.model, method), adapter_of(method))


def test_a_base_weight_that_moved_is_an_error() -> None:
    loaded = tiny_loaded("llama_gqa")

    class Meddling(SupervisedObjective):
        def loss(self, model: Any, batch: Any) -> torch.Tensor:
            model.model.norm.weight.data[0] += 1
            return super().loss(model, batch)

    run = run_of(loaded, "prefix", conversations(2), objective=Meddling())
    with pytest.raises(ModelError, match=r"Frozen weights changed during training: model\.norm"):
        fine_tune(loaded, run, given_plan(loaded.model, "prefix"), adapter_of("prefix"))


def test_gradient_checkpointing_changes_nothing_for_llama_adapter() -> None:
    def losses(recompute: bool) -> list[float]:
        loaded = tiny_loaded("llama_gqa")
        run = run_of(loaded, "llama_adapter", gradient_checkpointing=recompute)
        return fine_tune(loaded, run, None, adapter_of("llama_adapter"))[0].losses

    assert losses(True) == pytest.approx(losses(False), rel=1e-4)


def test_gradient_checkpointing_would_drop_a_prefix() -> None:
    loaded = tiny_loaded("llama_gqa")
    run = run_of(loaded, "prefix", gradient_checkpointing=True)
    with pytest.raises(ConfigError, match=r"training\.gradient_checkpointing off"):
        fine_tune(loaded, run, None, adapter_of("prefix"))


@pytest.mark.gpu
@pytest.mark.parametrize("method", [*MERGED, *ATTACHED])
def test_a_model_on_the_host_trains_on_the_gpu(method: str) -> None:
    loaded = tiny_loaded("llama_gqa")
    before = logits_of(loaded.model)
    run = run_of(loaded, method, trainer=TrainerConfig(accelerator="gpu", progress=False))
    summary, _ = fine_tune(loaded, run, given_plan(loaded.model, method), adapter_of(method))
    assert summary.final_loss < 0.7 * summary.first_loss
    assert not torch.allclose(logits_of(loaded.model), before, atol=0.1)


# --- what is refused ---


def test_llama_adapter_names_the_families_it_works_on() -> None:
    model = tiny_model("qwen2")
    with pytest.raises(ModelError, match=r"llama and mistral; this one is 'qwen2'"):
        adapter_of("llama_adapter").plan(model, given_plan(model, "llama_adapter"))


def test_llama_adapter_in_more_blocks_than_there_are() -> None:
    adapter = LlamaAdapter(length=2, layers=4)
    model = tiny_model("llama_gqa")
    with pytest.raises(ModelError, match="in 4 blocks: the model has 3"):
        adapter.plan(model, given_plan(model, "llama_adapter"))


@pytest.mark.parametrize(("depth", "expected"), [(6, 4), (3, 1), (2, 1), (1, 1)])
def test_llama_adapter_leaves_the_lowest_two_blocks_out_unless_told(
    depth: int, expected: int
) -> None:
    model = tiny_model("llama_gqa", num_hidden_layers=depth)
    adapter = LlamaAdapter(length=4)
    with installed(adapter, model, adapter.plan(model, given_plan(model, "llama_adapter"))):
        attached = attached_to(model)
        assert attached is not None
        assert attached.config["adapter_layers"] == expected
        top = {f"layers.{depth - 1 - at}." for at in range(expected)}
        assert len(attached.parameters) == 2 * expected
        assert all(any(part in name for part in top) for name in attached.parameters)


def test_the_shipped_llama_adapter_fits_a_model_of_any_depth() -> None:
    config = composed("+adapter@training.arms.extra.adapter=llama_adapter")
    adapter = build(config["training"]["arms"]["extra"]["adapter"], "adapter")
    model = tiny_model("llama_gqa")
    adapter.plan(model, given_plan(model, "llama_adapter"))


def test_lora_names_a_target_that_is_not_there() -> None:
    model = tiny_model("llama")
    with pytest.raises(ModelError, match=r"no projection 'q_prj'\. Did you mean 'q_proj'\?"):
        Lora(2, 4, targets=["v_proj", "q_prj"]).plan(model, given_plan(model, "lora"))


def test_lora_does_not_train_what_is_frozen() -> None:
    model = tiny_model("llama")
    plan = plan_training(model, "freeze", every_other(model))
    with pytest.raises(ModelError, match=r"frozen parts of model\.layers\.0.*UnitLora"):
        Lora(2, 4).plan(model, plan)


def test_unit_lora_needs_a_projection() -> None:
    model = tiny_model("llama")
    nothing = TrainingPlan((), ("model.norm.weight",), ())
    with pytest.raises(ModelError, match="leaves no projection open"):
        UnitLora(2, 4).plan(model, nothing)


def test_one_adapter_at_a_time() -> None:
    loaded = tiny_loaded("llama_gqa")
    fine_tune(loaded, run_of(loaded, "prefix", conversations(2)), None, adapter_of("prefix"))
    with pytest.raises(ModelError, match="has an adapter already"):
        fine_tune(loaded, run_of(loaded, "llama_adapter"), None, adapter_of("llama_adapter"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lora(0, 4), r"Lora\.rank=0 "),
        (lambda: Lora(2, 0), r"Lora\.alpha=0 "),
        (lambda: Lora(0, 0), r"Lora\.rank=0 .*\nLora\.alpha=0 "),  # all at once
        (lambda: Lora(2, 4, dropout=1.0), r"Lora\.dropout=1\.0 lies outside"),
        (lambda: Lora(2, 4, dropout=-0.1), r"Lora\.dropout=-0\.1 lies outside"),
        (lambda: Lora(2, 4, targets=[]), r"Lora\.targets is an empty list"),
        (lambda: UnitLora(0, 4), r"UnitLora\.rank=0 "),
        (lambda: UnitLora(2, -1), r"UnitLora\.alpha=-1 "),
        (lambda: Prefix(0), r"Prefix\.tokens=0 "),
        (lambda: LlamaAdapter(0, 2), r"LlamaAdapter\.length=0 "),
        (lambda: LlamaAdapter(2, 0), r"LlamaAdapter\.layers=0 "),
    ],
)
def test_arguments_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    for method in ("lora", *ATTACHED):
        with pytest.raises(ConfigError, match=r"pip install 'ssah-exp\[peft\]'"):
            adapter_of(method)
    adapter_of("unit_lora")  # the project's own


def test_peft_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys; from ssah_exp.training.adapters import llama_adapter, lora, prefix, unit_lora;"
        "lora.Lora(2, 4); prefix.Prefix(2); sys.exit('peft' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_shipped_adapter_is_built() -> None:
    names = names_of("adapter")
    assert set(names) == {*MERGED, *ATTACHED}
    for name in names:
        config = composed(f"+adapter@training.arms.extra.adapter={name}")
        adapter = build(config["training"]["arms"]["extra"]["adapter"], "adapter")
        assert type(adapter) is type(adapter_of(name))


def test_a_wrong_argument_in_a_config_is_named() -> None:
    node = {"_target_": "ssah_exp.training.adapters.prefix.Prefix", "token": 3}
    with pytest.raises(SsahError, match=r"Unknown key 'adapter\.token'\. Did you mean 'tokens'\?"):
        build(node, "adapter")
