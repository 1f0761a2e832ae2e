"""Sets of units turned into tensor slices, against index arithmetic written out in ``planning``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssah_exp.config.schema import OthersConfig
from ssah_exp.errors import UnitError
from ssah_exp.interventions.plan import Slice, TrainingPlan, plan_training
from ssah_exp.models.anatomy import read_anatomy, unit_tensors
from ssah_exp.units.index import UnitIndex
from tests.tiny import HEADS, tiny_model
from tests.training.planning import expected, masks_of, some_units


@pytest.mark.parametrize("policy", ["freeze", "budget"])
def test_the_plan_is_what_the_definition_says(family: str, policy: str) -> None:
    model = tiny_model(family)
    selected = some_units(model)
    plan = plan_training(model, policy, selected)
    trained = selected if policy == "budget" else ~selected
    wanted = expected(model, trained, others=policy == "freeze")
    for name, mask in masks_of(model, plan).items():
        assert torch.equal(mask, wanted[name]), name
    assert plan.changeable(model) == sum(int(mask.sum()) for mask in wanted.values())


def test_every_parameter_is_in_exactly_one_place(family: str) -> None:
    model = tiny_model(family)
    plan = plan_training(model, "budget", some_units(model))
    names = [*plan.whole, *plan.frozen, *plan.by_name]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_unit_tensors_cover_every_projection_of_every_block(family: str) -> None:
    model = tiny_model(family)
    names = {tensor.name for tensor in unit_tensors(model)}
    projections = {n for n, p in model.named_parameters() if "_proj." in n}
    assert names == projections, "tiny models have no biases on output projections"


def test_a_key_value_head_waits_for_all_its_query_heads() -> None:
    model = tiny_model("llama_gqa")  # 4 query heads, 2 key-value heads of 10
    chosen = np.zeros(read_anatomy(model).units, dtype=bool)
    chosen[0] = True
    key = "model.layers.0.self_attn.k_proj.weight"
    assert key in plan_training(model, "budget", chosen).frozen
    chosen[1] = True
    plan = plan_training(model, "budget", chosen)
    assert plan.by_name[key].index.tolist() == list(range(10))
    # Freezing one query head freezes the keys it uses.
    frozen = np.zeros_like(chosen)
    frozen[0] = True
    rest = plan_training(model, "freeze", frozen).by_name[key]
    assert rest.index.tolist() == list(range(10, 20))


def test_a_single_neuron_is_a_slice_of_one() -> None:
    model = tiny_model("llama_gqa")
    chosen = np.zeros(read_anatomy(model).units, dtype=bool)
    chosen[HEADS + 7] = True
    plan = plan_training(model, "budget", chosen)
    assert {
        name.removeprefix("model.layers.0.mlp."): item.index.tolist()
        for name, item in plan.by_name.items()
    } == {"gate_proj.weight": [7], "up_proj.weight": [7], "down_proj.weight": [7]}
    assert not plan.whole


def test_none_trains_everything(family: str) -> None:
    model = tiny_model(family)
    plan = plan_training(model, "none", None)
    assert plan.changeable(model) == sum(item.numel() for item in model.parameters())
    assert plan.slices == plan.frozen == ()


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("embeddings", "model.embed_tokens.weight"),
        ("norms", "model.norm.weight"),
        ("lm_head", "lm_head.weight"),
    ],
)
def test_what_units_do_not_own_is_an_option_with_a_default(option: str, name: str) -> None:
    model = tiny_model("llama")
    chosen = some_units(model)
    assert name in plan_training(model, "budget", chosen).frozen
    assert name in plan_training(model, "freeze", chosen).whole
    assert name in plan_training(model, "budget", chosen, OthersConfig(**{option: True})).whole
    assert name in plan_training(model, "freeze", chosen, OthersConfig(**{option: False})).frozen


@pytest.mark.parametrize("policy", ["budget", "freeze"])
@pytest.mark.parametrize("option", ["embeddings", "norms", "lm_head"])
def test_an_option_decides_about_nothing_else(option: str, policy: str) -> None:
    """Where embeddings and head are two matrices, one of them says nothing of the other."""
    model = tiny_model("llama")
    chosen, other = some_units(model), policy == "budget"
    plain = plan_training(model, policy, chosen)
    plan = plan_training(model, policy, chosen, OthersConfig(**{option: other}))
    moved = {*plan.whole} ^ {*plain.whole}
    names = {"embeddings": "embed_tokens.weight", "norms": "norm.weight", "lm_head": "head.weight"}
    assert moved
    assert all(name.endswith(names[option]) for name in moved)
    assert plan.by_name.keys() == plain.by_name.keys()


def test_tied_embeddings_take_one_answer() -> None:
    model = tiny_model("llama_tied")
    chosen = some_units(model)
    with pytest.raises(UnitError, match="ties the two"):
        plan_training(model, "budget", chosen, OthersConfig(embeddings=True, lm_head=False))
    for given in ({"embeddings": True, "lm_head": True}, {"embeddings": True}, {"lm_head": True}):
        plan = plan_training(model, "budget", chosen, OthersConfig(**given))
        assert "model.embed_tokens.weight" in plan.whole, "what is said of one holds for both"
    frozen = plan_training(model, "freeze", chosen, OthersConfig(lm_head=False))
    assert "model.embed_tokens.weight" in frozen.frozen


def test_take_and_put_are_inverse() -> None:
    matrix = torch.arange(24.0).reshape(4, 6)
    for dim, index in ((0, [1, 3]), (1, [0, 2, 5])):
        item = Slice("w", dim, torch.tensor(index), matrix.shape[dim])
        assert sorted([*item.index.tolist(), *item.rest.tolist()]) == list(range(item.size))
        copy = torch.zeros_like(matrix)
        item.put(copy, item.take(matrix))
        kept = copy.index_select(dim, item.rest)
        assert torch.equal(item.take(copy), matrix.index_select(dim, item.index))
        assert not kept.any()
        item.put(copy, item.take(matrix).double() * (1 + 1e-12))
        assert torch.equal(item.take(copy), item.take(matrix)), "rounded to the tensor's dtype"


ROWS = {"a": [0, 1], "b": [2]}


def sliced(whole: tuple[str, ...] = (), **rows: list[int]) -> TrainingPlan:
    """Rows of matrices of four."""
    slices = (Slice(name, 0, torch.tensor(index), 4) for name, index in rows.items())
    return TrainingPlan(tuple(slices), whole, ())


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        (sliced(("c",), a=[0, 1, 3], b=[2]), []),
        (sliced(("a", "b", "c")), []),
        (sliced(("c",), a=[1, 2], b=[2]), ["a"]),  # one of two rows
        (sliced(("b", "c")), ["a"]),
        (sliced(**ROWS), ["c"]),
        (sliced(**ROWS, c=[0, 1, 2]), ["c"]),
    ],
)
def test_what_another_plan_keeps_frozen(other: TrainingPlan, kept: list[str]) -> None:
    assert sliced(("c",), **ROWS).changes_kept_by(other) == kept


def test_refusals() -> None:
    model = tiny_model("llama_gqa")
    units = read_anatomy(model).units
    nothing, everything = np.zeros(units, dtype=bool), np.ones(units, dtype=bool)
    for policy, chosen, message in (
        ("frozen", everything, "Unknown policy"),
        ("none", everything, "takes no set"),
        ("freeze", None, "needs a set"),
        ("budget", nothing, "empty set"),
        ("budget", everything[:-1], f"{units - 1} units given"),
        ("budget", np.ones(units + 1, dtype=bool), f"{units + 1} units given"),
    ):
        with pytest.raises(UnitError, match=message):
            plan_training(model, policy, chosen)
    closed = OthersConfig(embeddings=False, norms=False, lm_head=False)
    with pytest.raises(UnitError, match="nothing to train"):
        plan_training(model, "freeze", everything, closed)
    assert UnitIndex(read_anatomy(model)).layer.size == units
