"""The unit delta on tensors: exact both ways, small, and a proof of what changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from ssah_exp.errors import UnitError
from ssah_exp.interventions.delta import Delta, apply_delta, make_delta
from ssah_exp.interventions.delta_summary import describe
from ssah_exp.interventions.plan import Slice, TrainingPlan
from tests.interventions.pairs import Pair, assert_exact, changed_at, flip
from tests.interventions.tuning import ORIGIN, TRAIN_ALL_OTHERS, plan_for, raw_all, tuned
from tests.tiny import tiny_model

DTYPES = [torch.float32, torch.bfloat16]


def saved_and_loaded(delta: Delta, folder: Path) -> Delta:
    delta.save(folder / "delta.safetensors")
    return Delta.load(folder / "delta.safetensors")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("policy", ["budget", "freeze"])
def test_exact_both_ways_under_a_plan(
    family: str, policy: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = tiny_model(family, dtype=dtype)
    plan = plan_for(model, policy)
    base, after = model.state_dict(), tuned(model, plan).state_dict()
    made = make_delta(base, after, plan, ORIGIN)
    assert_exact(base, after, saved_and_loaded(made, tmp_path))
    assert sum(part.xor.numel() for part in made.parts) == plan.changeable(model)
    names = {*plan.whole, *plan.by_name}
    assert {part.name for part in made.parts} == names


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exact_both_ways_without_a_plan(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_model(family, dtype=dtype)
    plan = plan_for(model)
    base, after = model.state_dict(), tuned(model, plan).state_dict()
    made = saved_and_loaded(make_delta(base, after, None, ORIGIN), tmp_path)
    assert_exact(base, after, made)
    assert {part.name for part in made.parts} == {*plan.whole, *plan.by_name}
    for part in made.parts:  # found by itself, the place is the one that was planned
        planned = plan.by_name.get(part.name)
        assert (part.place is None) == (planned is None)
        if planned is not None and part.place is not None:
            assert part.place.dim == planned.dim
            assert part.place.index.tolist() == planned.index.tolist()


def test_embeddings_norms_and_head_of_clones(family: str, tmp_path: Path) -> None:
    """A state_dict spells tied tensors out, and a clone of it no longer shares their memory."""
    model = tiny_model(family)
    plan = plan_for(model, "budget", TRAIN_ALL_OTHERS)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = {name: tensor.clone() for name, tensor in tuned(model, plan).state_dict().items()}
    delta = saved_and_loaded(make_delta(base, after, plan, ORIGIN), tmp_path)
    assert_exact(base, after, delta)
    tied = model.config.tie_word_embeddings
    copies = [name for part in delta.parts for name in part.copies]
    assert copies == (["lm_head.weight"] if tied else [])
    assert delta.base.values == sum(item.numel() for item in model.parameters())
    if tied:  # files do not spell them out
        del base["lm_head.weight"], after["lm_head.weight"]
        assert_exact(base, after, delta)


@pytest.mark.parametrize(
    ("at", "shape", "dim", "index"),
    [
        ([1, 4], (6, 8), 0, [1, 4]),
        ((slice(None), [0, 5, 7]), (6, 8), 1, [0, 5, 7]),
        ((slice(None), [1]), (2, 8), 1, [1]),
        (([0, 1, 2], [3, 4, 3]), (30, 5), 0, [0, 1, 2]),
        (([0, 1, 2], [3, 4, 5]), (4, 40), 1, [3, 4, 5]),
        ([2, 3], (9,), 0, [2, 3]),
        ([1], (3, 2, 2), 0, [1]),
        ((slice(None), [1]), (3, 4, 2), 1, [1]),
    ],
)
def test_the_smaller_of_rows_and_columns_is_found(
    at: object, shape: tuple[int, ...], dim: int, index: list[int]
) -> None:
    pair = Pair(w=changed_at(at, shape))
    (part,) = pair.delta().parts
    assert part.place is not None
    assert (part.place.dim, part.place.index.tolist()) == (dim, index)
    assert_exact(pair.base, pair.after, pair.delta())


@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (2, 2, 2)])
def test_a_tensor_changed_all_over_has_no_index(shape: tuple[int, ...], tmp_path: Path) -> None:
    pair = Pair(w=changed_at(..., shape))
    delta = saved_and_loaded(pair.delta(), tmp_path)
    assert delta.parts[0].place is None
    assert_exact(pair.base, pair.after, delta)


def test_what_changed_along_a_third_side_is_held_whole() -> None:
    """Rows and columns are all that a part can be, and that is said of it."""
    pair = Pair(w=changed_at((..., [1]), (2, 3, 4)))
    assert pair.delta().parts[0].place is None
    assert describe(pair.delta())["others"]["w"]["part"] == "whole"
    assert_exact(pair.base, pair.after, pair.delta())


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64,
     torch.int8, torch.uint8, torch.bool],
    ids=str,
)  # fmt: skip
def test_every_bit_pattern_survives(dtype: torch.dtype, tmp_path: Path) -> None:
    """Infinities, payloads of not-a-numbers, -0: all that arithmetic would not give back."""
    draw = torch.Generator().manual_seed(0)
    high = 2 if dtype == torch.bool else 256
    shape = (64, 16 * dtype.itemsize)
    old, new = (torch.randint(high, shape, generator=draw, dtype=torch.uint8) for _ in range(2))
    new[::2] = old[::2]
    pair = Pair(w=(old.view(dtype), new.view(dtype)), v=(old.view(dtype)[1], new.view(dtype)[1]))
    assert_exact(pair.base, pair.after, saved_and_loaded(pair.delta(), tmp_path))


def test_the_sign_of_zero_and_a_payload_count_as_changes() -> None:
    zeros, nans = torch.zeros(4), torch.full((4,), float("nan"))
    other = nans.clone()
    other.view(torch.int32)[2] += 1
    pair = Pair(zero=(zeros, -zeros), nan=(nans, other))
    assert describe(pair.delta())["values"]["changed"] == 5
    assert_exact(pair.base, pair.after, pair.delta())


def test_inputs_are_kept_and_untouched_tensors_are_handed_on() -> None:
    pair = Pair(w=changed_at([1]), same=changed_at([]))
    before = raw_all(pair.base)
    result = apply_delta(pair.base, pair.delta())
    assert raw_all(pair.base) == before
    assert result["same"] is pair.base["same"]


def test_views_that_are_not_contiguous(tmp_path: Path) -> None:
    old, new = changed_at([1])
    every = (old.T, (old + 0.5).T)  # whose bits that changed are no contiguous tensor, either
    pair = Pair(w=(old.T, new.T), half=(old[:, ::2], new[:, ::2]), every=every)
    assert not pair.delta().parts[0].xor.is_contiguous()
    delta = saved_and_loaded(pair.delta(), tmp_path)
    assert_exact(pair.base, pair.after, delta)
    made = apply_delta(pair.base, delta)
    assert all(item.is_contiguous() for item in made.values()), "as files hold them"


# --- what may not change


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama_gqa")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.norm.weight", "model.norm.weight changed, and the plan does not let it"),
        ("model.layers.1.self_attn.q_proj.weight", "q_proj.weight changed outside the rows"),
        ("model.layers.1.mlp.down_proj.weight", "down_proj.weight changed outside the columns"),
    ],
)
def test_a_single_bit_outside_the_plan_is_refused(
    model: PreTrainedModel, name: str, message: str
) -> None:
    plan = plan_for(model)
    base, after = model.state_dict(), tuned(model, plan).state_dict()
    item = plan.by_name.get(name)
    if item is None:
        flip(after[name], 0)
    else:
        position = [3, 3]
        position[item.dim] = int(item.rest[-1])
        flip(after[name], *position)
    with pytest.raises(UnitError, match=message):
        make_delta(base, after, plan, ORIGIN)


def test_a_frozen_matrix_is_no_copy_of_a_trained_one() -> None:
    """Untied, but equal: it may not follow, neither as a whole nor in part."""
    pair = Pair(a=changed_at([1]), b=changed_at([1]))
    plan = TrainingPlan((), ("a",), ("b",))
    with pytest.raises(UnitError, match="b changed, and the plan does not let it"):
        pair.delta(plan)
    in_part = TrainingPlan((Slice("b", 0, torch.tensor([2]), 6),), ("a",), ())
    with pytest.raises(UnitError, match="b changed outside the rows"):
        pair.delta(in_part)


def test_a_tensor_the_plan_does_not_know_may_follow_only_as_a_copy() -> None:
    plan = TrainingPlan((), ("a",), ())
    copied = Pair(a=changed_at([1]), head=changed_at([1]))
    assert copied.delta(plan).parts[0].copies == ("head",)
    flip(copied.after["head"], 5, 5)
    with pytest.raises(UnitError, match="head changed"):
        copied.delta(plan)


def test_matrices_that_training_made_equal_are_no_copies() -> None:
    old, new = changed_at([1])
    pair = Pair(a=(old, new), b=(new + 1, new))
    assert [part.names for part in pair.delta().parts] == [("a",), ("b",)]
    assert_exact(pair.base, pair.after, pair.delta())


def test_matrices_of_two_types_are_no_copies_though_their_bits_are() -> None:
    old, new = (item.to(torch.int16) for item in changed_at([1]))
    new[1] += 1
    pair = Pair(
        **{str(kind): (old.view(kind), new.view(kind)) for kind in (torch.half, torch.bfloat16)}
    )
    assert all(part.copies == () for part in pair.delta().parts)
    assert_exact(pair.base, pair.after, pair.delta())


def test_equal_vectors_are_not_taken_for_tied() -> None:
    pair = Pair(a=changed_at([1], (6,)), b=changed_at([1], (6,)))
    assert [part.names for part in pair.delta().parts] == [("a",), ("b",)]


@pytest.mark.parametrize("plan", [None, TrainingPlan((), ("w",), ())])
def test_nothing_changed(plan: TrainingPlan | None) -> None:
    with pytest.raises(UnitError, match="Nothing changed"):
        Pair(w=changed_at([])).delta(plan)


def test_planned_tensors_that_did_not_change_are_left_out() -> None:
    pair = Pair(a=changed_at([]), b=changed_at([2]), c=changed_at([3]))
    plan = TrainingPlan((Slice("b", 0, torch.tensor([2, 4]), 6),), ("a", "c"), ())
    parts = pair.delta(plan).parts
    assert [part.name for part in parts] == ["b", "c"]
    assert parts[0].place is not None
    assert parts[0].place.index.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ({"w": torch.ones(2, 3)}, "only one has v"),
        ({"w": torch.ones(2, 3), "v": torch.ones(4), "u": torch.ones(1)}, "only one has u"),
        ({"w": torch.ones(2, 3), "u": torch.ones(4)}, "only one has u"),  # and the other has v
        ({"w": torch.ones(3, 2), "v": torch.ones(4)}, r"w is \[2, 3\] float32 .*\[3, 2\] float32"),
        ({"w": torch.ones(2, 3), "v": torch.ones(4).bfloat16()}, "v is .* float32 .* bfloat16"),
    ],
)
def test_models_that_cannot_be_compared(after: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(UnitError, match=message):
        make_delta({"w": torch.zeros(2, 3), "v": torch.zeros(4)}, after, None, ORIGIN)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (TrainingPlan((), ("w", "x"), ()), "have no x"),
        (TrainingPlan((), ("w",), ("y",)), "have no y"),
        (TrainingPlan((Slice("w", 0, torch.tensor([1]), 7),), (), ()), r"w has shape \[6, 8\]"),
        (TrainingPlan((Slice("w", 2, torch.tensor([1]), 6),), (), ()), r"w has shape \[6, 8\]"),
    ],
)
def test_the_plan_of_another_model(plan: TrainingPlan, message: str) -> None:
    with pytest.raises(UnitError, match=f"The plan is of another model: .*{message}"):
        Pair(w=changed_at([1])).delta(plan)


def test_description() -> None:
    rows, columns = changed_at([1, 4]), changed_at((slice(None), [0, 5, 7]))
    one_row = changed_at([2])
    pair = Pair(
        **{
            "m.layers.10.mlp.up_proj.weight": rows,
            "m.layers.10.mlp.down_proj.weight": columns,
            "m.layers.2.norm.weight": changed_at([0], (5,)),
            "m.embed.weight": one_row,
            "m.other.weight": (torch.zeros(10), torch.zeros(10)),
        }
    )
    slices = {"rows": [0, 1, 4], "columns": [0, 5, 7]}
    plan = TrainingPlan(
        (
            Slice("m.layers.10.mlp.up_proj.weight", 0, torch.tensor(slices["rows"]), 6),
            Slice("m.layers.10.mlp.down_proj.weight", 1, torch.tensor(slices["columns"]), 8),
        ),
        ("m.embed.weight", "m.layers.2.norm.weight"),
        ("m.other.weight",),
    )
    assert describe(pair.delta(plan)) == {
        "model": "tiny/base",
        "revision": "r7",
        "fingerprint": "f" * 64,
        "tensors": 4,
        "values": {
            "changed": 2 * 8 + 3 * 6 + 1 + 8,
            "stored": 3 * 8 + 3 * 6 + 5 + 48,
            "model": 3 * 48 + 5 + 10,
            "changed_share": 43 / 159,
        },
        "layers": [
            {
                "layer": 2,
                "tensors": {
                    "norm.weight": {"part": "whole", "axis": "entries", "changed": 1, "of": 5}
                },
            },
            {
                "layer": 10,
                "tensors": {
                    "mlp.down_proj.weight": {
                        "part": "columns",
                        "axis": "columns",
                        "changed": 3,
                        "of": 8,
                    },
                    "mlp.up_proj.weight": {"part": "rows", "axis": "rows", "changed": 2, "of": 6},
                },
            },
        ],
        "others": {"m.embed.weight": {"part": "whole", "axis": "rows", "changed": 1, "of": 6}},
    }


def test_a_number_further_down_in_a_name_is_no_layer() -> None:
    pair = Pair(**{"m.layers.2.mlp.experts.5.weight": changed_at([0])})
    (row,) = describe(pair.delta())["layers"]
    assert (row["layer"], list(row["tensors"])) == (2, ["mlp.experts.5.weight"])


def test_description_of_entries_and_scalars() -> None:
    pair = Pair(v=changed_at([2], (9,)), s=changed_at(..., ()))
    assert describe(pair.delta())["others"] == {
        "s": {"part": "whole", "axis": "entries", "changed": 1, "of": 1},
        "v": {"part": "entries", "axis": "entries", "changed": 1, "of": 9},
    }
