"""Sizes read from weights, against each family's config written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssah_exp.errors import ModelError
from ssah_exp.models.anatomy import (
    FAMILIES,
    blocks,
    check_head,
    final_norm,
    output_column_norms,
    output_projection,
    read_anatomy,
    reads_from_bos,
)
from ssah_exp.models.sizes import KINDS
from tests import tiny

# Family -> key-value heads, head size, weights of one block's attention.
BY_HAND = {
    "llama": (4, 10, 4 * 40 * 40),
    "llama_gqa": (2, 10, 2 * 40 * 40 + 2 * 40 * 20),
    "llama_wide_heads": (2, 16, 2 * 40 * 64 + 2 * 40 * 32),
    "llama_tied": (4, 10, 4 * 40 * 40),
    "mistral": (2, 10, 2 * 40 * 40 + 2 * 40 * 20),
    "qwen2": (2, 10, 2 * 40 * 40 + 2 * 40 * 20),
    "qwen3": (2, 16, 2 * 40 * 64 + 2 * 40 * 32),
    "gemma": (1, 16, 2 * 40 * 64 + 2 * 40 * 16),
    "gemma2": (2, 16, 2 * 40 * 64 + 2 * 40 * 32),
    "gemma3": (1, 16, 2 * 40 * 64 + 2 * 40 * 16),
    "phi3": (2, 10, 2 * 40 * 40 + 2 * 40 * 20),
}


def test_sizes(family: str) -> None:
    model = tiny.tiny_model(family)
    anatomy = read_anatomy(model)
    kv_heads, head_dim, attention_weights = BY_HAND[family]
    assert anatomy.as_dict() == {
        "family": model.config.model_type,
        "layers": 3,
        "heads": 4,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "neurons": 56,
        "hidden": 40,
        "head_parameters": attention_weights / 4,
        "neuron_parameters": 3 * 40,
    }
    assert anatomy.units == 3 * (4 + 56)
    assert anatomy.channels("attention") == 4 * head_dim
    assert anatomy.channels("mlp") == 56


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_gemma_alone_reads_no_text_without_its_first_token(family: str) -> None:
    assert reads_from_bos(tiny.FAMILIES[family]()) == family.startswith("gemma")


def test_unit_parameters_are_the_projections_weights(family: str) -> None:
    model = tiny.tiny_model(family)
    anatomy = read_anatomy(model)
    weights = {
        part: sum(
            parameter.numel()
            for name, parameter in model.named_parameters()
            if f".{part}." in name and "proj.weight" in name
        )
        for part in ("self_attn", "mlp")
    }
    assert anatomy.layers * anatomy.heads * anatomy.head_parameters == weights["self_attn"]
    assert anatomy.layers * anatomy.neurons * anatomy.neuron_parameters == weights["mlp"]


def test_every_supported_family_has_a_tiny_model() -> None:
    tested = {tiny.FAMILIES[name]().model_type for name in tiny.FAMILIES}
    assert tested == set(FAMILIES)


def test_output_projections(family: str) -> None:
    model = tiny.tiny_model(family)
    assert list(blocks(model)) == list(model.model.layers)
    for layer, block in enumerate(model.model.layers):
        assert output_projection(model, layer, "attention") is block.self_attn.o_proj
        assert output_projection(model, layer, "mlp") is block.mlp.down_proj


def test_output_column_norms(family: str) -> None:
    model = tiny.tiny_model(family)
    anatomy = read_anatomy(model)
    for kind in KINDS:
        norms = output_column_norms(model, kind)
        assert norms.shape == (3, anatomy.channels(kind))
        assert norms.dtype == torch.float64
        for layer in range(3):
            weight = output_projection(model, layer, kind).weight.detach().double()
            for channel in (0, 17, anatomy.channels(kind) - 1):
                plain = sum(float(value) ** 2 for value in weight[:, channel])
                assert float(norms[layer, channel]) == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    """Behind the last block no statistic sees them."""
    model = tiny.tiny_model("llama_gqa")
    output_projection(model, 2, "mlp").weight.data[3, 5] = value
    assert output_column_norms(model, "attention").isfinite().all()
    with pytest.raises(ModelError, match="weights in the mlp output projection of layer 2"):
        output_column_norms(model, "mlp")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("what", ["final norm", "LM head"])
def test_weights_behind_the_last_block_are_named(family: str, what: str, value: float) -> None:
    model = tiny.tiny_model(family)
    check_head(model)
    module = final_norm(model) if what == "final norm" else model.get_output_embeddings()
    module.weight.data[-1] = value
    with pytest.raises(ModelError, match=f"NaN or infinite weights in the {what}"):
        check_head(model)


def test_unknown_family_says_how_to_add_one() -> None:
    model = nn.Module()
    model.config = type("Config", (), {"model_type": "llamma"})()
    with pytest.raises(ModelError) as error:
        read_anatomy(model)
    message = str(error.value)
    for part in ("'llamma'", "llama, mistral", "FAMILIES", "anatomy.py", "tests/tiny.py"):
        assert part in message


def test_model_without_config_is_an_unknown_family() -> None:
    with pytest.raises(ModelError, match="'unknown'"):
        read_anatomy(nn.Linear(2, 2))


def test_blocks_of_different_size_are_refused() -> None:
    model = tiny.tiny_model("llama")
    mlp = model.model.layers[1].mlp
    for name, shape in (("gate_proj", (40, 50)), ("up_proj", (40, 50)), ("down_proj", (50, 40))):
        setattr(mlp, name, nn.Linear(*shape, bias=False))
    with pytest.raises(ModelError, match="differ in size"):
        read_anatomy(model)


def test_width_that_heads_do_not_divide_is_refused() -> None:
    model = tiny.tiny_model("llama")
    model.config.num_attention_heads = 3
    with pytest.raises(ModelError, match="40 attention channels do not divide by 3"):
        read_anatomy(model)


def test_missing_weight_is_refused() -> None:
    model = tiny.tiny_model("llama")
    model.model.layers[0].mlp.down_proj = nn.Identity()
    with pytest.raises(ModelError, match="Identity has no 2-D weight"):
        read_anatomy(model)
