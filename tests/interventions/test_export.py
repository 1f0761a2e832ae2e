"""Exported folders, loaded by plain transformers, against the hooked model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ssah_exp.errors import ModelError, StoreError
from ssah_exp.interventions.ablate import Ablation, ablated, plan_ablation
from ssah_exp.interventions.export import export_model
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.load import LoadedModel, load_model
from tests import tiny
from tests.interventions.test_ablate import IDS, MASK, fills_of, some_units
from tests.models.test_placement import load
from tests.training.adapting import MODEL

# Name -> family and changes of its config.
BOTH_BIASES = {
    "llama": ("llama", {}),
    "llama_gqa": ("llama_gqa", {}),
    "llama_wide_heads": ("llama_wide_heads", {}),
    "llama_tied": ("llama_tied", {}),
    "llama_biased": ("llama_gqa", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {}),
    "qwen2": ("qwen2", {}),
}
HEADS_ONLY = {name: (name, {}) for name in ("qwen3", "gemma", "gemma2", "gemma3")}
NO_BIASES = {"phi3": ("phi3", {}), "mistral_window": ("mistral", {"sliding_window": 8})}
ALL = {**BOTH_BIASES, **HEADS_ONLY, **NO_BIASES}


def made(name: str) -> tuple[LoadedModel, Ablation]:
    return made_with(name, "pooled", "both")


def made_with(name: str, fill: str, which: str) -> tuple[LoadedModel, Ablation]:
    family, changes = ALL[name]
    loaded = tiny.tiny_loaded(family, seed=4, **changes)
    anatomy = read_anatomy(loaded.model)
    selected = some_units(anatomy)
    per_block = anatomy.heads + anatomy.neurons
    if which == "heads":
        selected &= np.arange(anatomy.units) % per_block < anatomy.heads
    return loaded, plan_ablation(selected, anatomy, fills_of(anatomy, fill))


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK).logits[MASK.bool()]


def reloaded(folder: Path) -> PreTrainedModel:
    """By plain transformers; eager where scores are capped."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    kernel = "eager" if model.config.model_type == "gemma2" else "sdpa"
    model.set_attn_implementation(kernel)
    return model.eval()


def check(loaded: LoadedModel, ablation: Ablation, out: Path) -> PreTrainedModel:
    plain = logits(loaded.model)
    with ablated(loaded.model, ablation):
        expected = logits(loaded.model)
    assert not torch.allclose(expected, plain, atol=0.05), "the ablation does something"
    before = {name: item.clone() for name, item in loaded.model.state_dict().items()}
    config = loaded.model.config.to_dict()
    export_model(loaded, ablation, out)
    model = reloaded(out)
    torch.testing.assert_close(logits(model), expected, atol=2e-4, rtol=1e-4)
    for name, item in loaded.model.state_dict().items():
        assert torch.equal(item, before[name]), "the model itself is left as it is"
    assert loaded.model.config.to_dict() == config, "it has no biases that were not there"
    return model


@pytest.mark.parametrize("name", BOTH_BIASES)
def test_mean_ablation_is_in_the_weights(name: str, tmp_path: Path) -> None:
    loaded, ablation = made(name)
    model = check(loaded, ablation, tmp_path / "out")
    assert model.config.model_type == "llama"
    assert not torch.equal(logits(model), logits(loaded.model))


@pytest.mark.parametrize("name", HEADS_ONLY)
def test_heads_alone_where_only_attention_has_biases(name: str, tmp_path: Path) -> None:
    check(*made_with(name, "pooled", "heads"), tmp_path / "out")


@pytest.mark.parametrize("name", ALL)
def test_zero_needs_no_bias(name: str, tmp_path: Path) -> None:
    loaded, ablation = made_with(name, "zero", "both")
    model = check(loaded, ablation, tmp_path / "out")
    assert model.config.model_type == loaded.model.config.model_type
    assert set(model.state_dict()) == set(loaded.model.state_dict())


@pytest.mark.parametrize("name", [*HEADS_ONLY, *NO_BIASES])
def test_a_family_without_biases_is_refused(name: str, tmp_path: Path) -> None:
    loaded, ablation = made(name)
    family = loaded.model.config.model_type
    with pytest.raises(ModelError, match=f"A {family} model cannot be exported") as caught:
        export_model(loaded, ablation, tmp_path / "out")
    able = "llama, mistral without sliding windows, qwen2 without sliding windows"
    assert f"(families that can have: {able})" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_family_without_biases_is_told_which_have_them_at_heads(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        export_model(*made_with("phi3", "pooled", "heads"), tmp_path / "out")
    said = str(caught.value).partition("(families that can have: ")[2].partition(")")[0]
    named = {name.removesuffix(" without sliding windows") for name in said.split(", ")}
    families = {made_with(name, "zero", "heads")[0].model.config.model_type for name in HEADS_ONLY}
    assert named == {"llama", "mistral", "qwen2"} | families


def test_tied_weights_are_stored_once_and_the_tokenizer_lies_beside(tmp_path: Path) -> None:
    loaded, ablation = made("llama_tied")
    export_model(loaded, ablation, tmp_path / "out")
    model = reloaded(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.chat_template == tiny.TEMPLATE
    assert tokenizer("w3 w4").input_ids == loaded.speech.tokenizer("w3 w4").input_ids


def test_an_own_head_stays_though_the_config_ties_it(tmp_path: Path) -> None:
    """Later versions of transformers load both matrices then, earlier ones tie them."""
    given, name = tmp_path / "given", "model.safetensors"
    made, ablation = made_with("llama_tied", "pooled", "both")
    made.model.save_pretrained(given)
    made.speech.tokenizer.save_pretrained(given)
    weights = load_file(given / name)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(1).contiguous()
    save_file(weights, given / name, {"format": "pt"})
    loaded = load_model(str(given), MODEL)
    model = check(loaded, ablation, tmp_path / "out")
    for item in (loaded.model, model):
        tied = item.get_output_embeddings().weight is item.get_input_embeddings().weight
        assert item.config.tie_word_embeddings == tied


def test_what_else_the_configs_say_is_kept(tmp_path: Path) -> None:
    """A Mistral model becomes a Llama one, which has other defaults."""
    kept = {
        "rms_norm_eps": 1e-3,
        "hidden_act": "gelu",
        "max_position_embeddings": 77,
        "initializer_range": 0.5,
        "attention_dropout": 0.25,
        "bos_token_id": 5,
        "eos_token_id": 6,
        "pad_token_id": 3,
    }
    rope = {"rope_type": "default", "rope_theta": 777.0}
    loaded = tiny.tiny_loaded("mistral", seed=4, rope_parameters=rope, **kept)
    loaded.model.generation_config.repetition_penalty = 1.5
    anatomy = read_anatomy(loaded.model)
    ablation = plan_ablation(some_units(anatomy), anatomy, fills_of(anatomy, "pooled"))
    model = check(loaded, ablation, tmp_path / "out")
    assert {key: getattr(model.config, key) for key in kept} == kept
    assert model.config.rope_parameters["rope_theta"] == 777
    assert model.generation_config.repetition_penalty == 1.5


def test_half_precision_stays_half(tmp_path: Path) -> None:
    loaded = tiny.tiny_loaded("llama_gqa", seed=4, dtype=torch.bfloat16)
    anatomy = read_anatomy(loaded.model)
    ablation = plan_ablation(some_units(anatomy), anatomy, fills_of(anatomy, "pooled"))
    with ablated(loaded.model, ablation):
        expected = logits(loaded.model)
    export_model(loaded, ablation, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert model.dtype == torch.bfloat16
    close = (logits(model) - expected).abs().float()
    assert close.mean() < 0.03 * expected.abs().float().mean()


def test_without_ablation_it_is_a_copy(tmp_path: Path) -> None:
    loaded, _ = made("qwen2")
    export_model(loaded, None, tmp_path / "out")
    assert torch.equal(logits(reloaded(tmp_path / "out")), logits(loaded.model))


@pytest.mark.parametrize("ablate", [True, False])
def test_a_model_with_an_adapter_of_hooks_is_refused(tmp_path: Path, ablate: bool) -> None:
    """The folder would load as the base model, in the adapted one's name."""
    loaded, ablation = made("llama_gqa")
    LearnedPrefix.of_tokens(loaded.model, [1, 9, 10])
    with pytest.raises(ModelError, match="carries an adapter that acts through hooks"):
        export_model(loaded, ablation if ablate else None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_offloaded_weights_take_no_ablation_and_are_copied_without(tmp_path: Path) -> None:
    plain, spread = (load(tmp_path, "llama_gqa", spread=item) for item in (False, True))
    units, fills = some_units(plain.anatomy), fills_of(plain.anatomy, "pooled")
    ablation = plan_ablation(units, plain.anatomy, fills)
    with pytest.raises(ModelError, match=r"offloaded.*model\.device_map=null model\.device=cpu"):
        export_model(spread, ablation, tmp_path / "ablated")
    assert not (tmp_path / "ablated").exists()
    export_model(spread, None, tmp_path / "copied")
    torch.testing.assert_close(logits(reloaded(tmp_path / "copied")), logits(plain.model))


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        export_model(*made("llama"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
