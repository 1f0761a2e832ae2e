"""Other scores than the paper's: SNIP against plain autograd, head by head and neuron by neuron."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssah_exp.data.chat import Encoded
from ssah_exp.errors import ModelError, UnitError
from ssah_exp.models.load import LoadedModel
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.scoring import ScoringSettings, Snip, checked_importance, scores_of
from tests import tiny

EXAMPLES = tiny.conversations(3)


def weights_by_role(loaded: LoadedModel, layer: int) -> dict[str, torch.Tensor]:
    """``|w * dL/dw|`` of one block's projections, fused ones taken apart by hand."""
    block = loaded.model.get_submodule(f"model.layers.{layer}")
    found = {
        name.split(".")[-2]: (item.detach() * item.grad).abs()
        for name, item in block.named_parameters()
        if name.endswith("_proj.weight") and item.grad is not None
    }
    anatomy = loaded.anatomy
    if "qkv_proj" in found:
        sizes = [anatomy.heads, anatomy.kv_heads, anatomy.kv_heads]
        parts = found.pop("qkv_proj").split([n * anatomy.head_dim for n in sizes])
        found |= dict(zip(("q_proj", "k_proj", "v_proj"), parts, strict=True))
        gate_up = found.pop("gate_up_proj").chunk(2)
        found |= dict(zip(("gate_proj", "up_proj"), gate_up, strict=True))
    return found


def oracle(
    loaded: LoadedModel, examples: Sequence[Encoded], first: str = "response"
) -> NDArray[np.float64]:
    """Transformers' own loss, ``backward``, and sums over what protocol section 1 calls a unit."""
    anatomy, model = loaded.anatomy, loaded.model
    heads = np.zeros((anatomy.layers, anatomy.heads))
    neurons = np.zeros((anatomy.layers, anatomy.neurons))
    for example in examples:
        ids = torch.tensor([example.input_ids])
        labels = ids.clone()
        if first == "response":
            labels[0, : example.response_start] = -100
        model.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        for layer in range(anatomy.layers):
            role = weights_by_role(loaded, layer)
            for head in range(anatomy.heads):
                at = slice(head * anatomy.head_dim, (head + 1) * anatomy.head_dim)
                group = anatomy.heads // anatomy.kv_heads
                shared = slice(
                    head // group * anatomy.head_dim, (head // group + 1) * anatomy.head_dim
                )
                own = role["q_proj"][at].sum() + role["o_proj"][:, at].sum()
                others = role["k_proj"][shared].sum() + role["v_proj"][shared].sum()
                heads[layer, head] += float(own + others / group)
            for neuron in range(anatomy.neurons):
                rows = role["gate_proj"][neuron].sum() + role["up_proj"][neuron].sum()
                neurons[layer, neuron] += float(rows + role["down_proj"][:, neuron].sum())
    model.zero_grad()
    return np.concatenate([heads, neurons], axis=1).reshape(-1) / len(examples)


@pytest.mark.parametrize("tokens", ["response", "all"])
def test_snip_is_the_sum_of_what_autograd_says_of_a_units_weights(family: str, tokens: str) -> None:
    loaded = tiny.tiny_loaded(family)
    found = Snip().importance(loaded, EXAMPLES, ScoringSettings(tokens=tokens))
    assert found == pytest.approx(oracle(loaded, EXAMPLES, tokens), rel=1e-4)
    assert found.dtype == np.float64


def test_the_model_is_as_it_was(family: str) -> None:
    loaded = tiny.tiny_loaded(family)
    parameters = list(loaded.model.parameters())
    parameters[0].requires_grad_(False)
    for item in parameters[1:3]:
        item.requires_grad_(False)
    before = [(item.clone(), item.requires_grad) for item in parameters]
    with torch.no_grad():
        Snip().importance(loaded, EXAMPLES, ScoringSettings())
    for item, (value, wanted) in zip(parameters, before, strict=True):
        assert torch.equal(item, value)
        assert item.requires_grad == wanted
        assert item.grad is None


def test_examples_count_alike_and_those_without_an_answer_not_at_all() -> None:
    loaded = tiny.tiny_loaded()
    each = [Snip().importance(loaded, [item], ScoringSettings()) for item in EXAMPLES]
    cut = Encoded(EXAMPLES[0].input_ids[:3], 3)
    found = Snip().importance(loaded, [*EXAMPLES, cut], ScoringSettings())
    assert found == pytest.approx(np.mean(each, axis=0))
    with pytest.raises(UnitError, match="No example has a token"):
        Snip().importance(loaded, [cut], ScoringSettings())


def test_gradients_of_two_examples_are_never_in_memory_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    left: list[int] = []
    plain = torch.autograd.grad

    def grad(*given: Any) -> tuple[torch.Tensor, ...]:
        left.append(sum(item() is not None for item in made))
        found = plain(*given)
        made[:] = [weakref.ref(item) for item in found]
        return found

    monkeypatch.setattr(torch.autograd, "grad", grad)
    Snip().importance(tiny.tiny_loaded(), EXAMPLES, ScoringSettings())
    assert left == [0] * len(EXAMPLES)


def test_an_offloaded_model_has_no_gradients() -> None:
    loaded = tiny.tiny_loaded()
    block = loaded.model.get_submodule("model.layers.1.mlp.up_proj")
    block.weight = torch.nn.Parameter(block.weight.to("meta"))
    with pytest.raises(ModelError, match="offloaded"):
        Snip().importance(loaded, EXAMPLES, ScoringSettings())


def test_scores_are_z_scores_within_a_block_and_a_kind() -> None:
    index = UnitIndex(tiny.tiny_loaded().anatomy)
    raw = np.random.default_rng(0).random(index.anatomy.units) * np.exp(index.layer)
    scores = scores_of(raw, index)
    for layer in range(index.anatomy.layers):
        for kind in (0, 1):
            here = (index.layer == layer) & (index.kind == kind)
            expected = (raw[here] - raw[here].mean()) / raw[here].std(ddof=1)
            assert scores[here] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw[:-1], r"gave float64 \(\d+,\), not floats of"),
        (lambda raw: raw.astype(int), "gave int64"),
        (lambda raw: torch.from_numpy(raw), "gave Tensor, not an array"),
        (lambda raw: raw.tolist(), "gave list, not an array"),
        (lambda raw: np.where(np.arange(raw.size) == raw.size - 1, np.nan, raw), "in layer 2"),
    ],
)
def test_what_is_no_number_per_unit_is_refused(spoil: object, message: str) -> None:
    index = UnitIndex(tiny.tiny_loaded().anatomy)
    raw = np.ones(index.anatomy.units)
    assert callable(spoil)
    with pytest.raises(UnitError, match=message):
        checked_importance(spoil(raw), index)
