"""The unit delta on tensors: exact both ways, small, a proof, and refused where it does not fit."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from ssah_exp.errors import StoreError, UnitError
from ssah_exp.interventions.delta import Delta, apply_delta, make_delta, revert_delta
from ssah_exp.interventions.delta_summary import describe
from ssah_exp.interventions.plan import Slice, TrainingPlan
from tests.interventions.tuning import ORIGIN, TRAIN_ALL_OTHERS, plan_for, raw, raw_all, tuned
from tests.tiny import tiny_model

DTYPES = [torch.float32, torch.bfloat16]
FOR_TINY = r"made for tiny/base, revision r7 \(fingerprint ffffffffffff\)"
NOT_WRITTEN = r"Nothing was written\.$"
KEY = "ssah-exp unit delta"


def saved_and_loaded(delta: Delta, folder: Path) -> Delta:
    delta.save(folder / "delta.safetensors")
    return Delta.load(folder / "delta.safetensors")


def assert_exact(
    base: dict[str, torch.Tensor], after: dict[str, torch.Tensor], delta: Delta
) -> None:
    assert raw_all(apply_delta(base, delta)) == raw_all(after)
    assert raw_all(revert_delta(after, delta)) == raw_all(base)


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


class Pair:
    """Hand-made weights before and after."""

    def __init__(self, **pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
        self.base = {name: pair[0] for name, pair in pairs.items()}
        self.after = {name: pair[1] for name, pair in pairs.items()}

    def delta(self, plan: TrainingPlan | None = None) -> Delta:
        return make_delta(self.base, self.after, plan, ORIGIN)


def changed_at(at: object, shape: tuple[int, ...] = (6, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    old = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    new = old.clone()
    new[at] += 0.5  # type: ignore[index]
    return old, new


# More rows than columns in number can still be fewer values, and the other way round.
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


def test_views_that_are_not_contiguous() -> None:
    old, new = changed_at([1])
    pair = Pair(w=(old.T, new.T), half=(old[:, ::2], new[:, ::2]))
    assert_exact(pair.base, pair.after, pair.delta())


# --- what may not change


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_model("llama_gqa")


def flip(tensor: torch.Tensor, *at: int) -> None:
    """Flip the lowest bit of one float32."""
    tensor.view(torch.int32)[at] ^= 1


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
    """Untied, but equal: it may not follow."""
    pair = Pair(a=changed_at([1]), b=changed_at([1]))
    plan = TrainingPlan((), ("a",), ("b",))
    with pytest.raises(UnitError, match="b changed, and the plan does not let it"):
        pair.delta(plan)


def test_a_tensor_the_plan_does_not_know_may_follow_only_as_a_copy() -> None:
    plan = TrainingPlan((), ("a",), ())
    copied = Pair(a=changed_at([1]), head=changed_at([1]))
    assert copied.delta(plan).parts[0].copies == ("head",)
    flip(copied.after["head"], 5, 5)
    with pytest.raises(UnitError, match="head changed"):
        copied.delta(plan)


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
    ],
)
def test_the_plan_of_another_model(plan: TrainingPlan, message: str) -> None:
    with pytest.raises(UnitError, match=f"The plan is of another model: .*{message}"):
        Pair(w=changed_at([1])).delta(plan)


# --- weights it does not fit


def test_weights_whose_touched_part_differs_are_refused() -> None:
    pair = Pair(a=changed_at([1]), b=changed_at((slice(None), [2])), c=changed_at([]))
    delta = pair.delta()
    flip(pair.base["b"], 4, 2)
    with pytest.raises(UnitError, match=f"{FOR_TINY}; b do.* the base's values. {NOT_WRITTEN}"):
        apply_delta(pair.base, delta)
    flip(pair.after["a"], 1, 7)
    flip(pair.after["b"], 0, 2)
    with pytest.raises(UnitError, match=f"{FOR_TINY}; a and 1 more.* it left .*{NOT_WRITTEN}"):
        revert_delta(pair.after, delta)


def test_changes_elsewhere_are_kept() -> None:
    pair = Pair(a=changed_at([1]))
    delta = pair.delta()
    flip(pair.base["a"], 4, 2)
    flip(pair.after["a"], 4, 2)
    assert_exact(pair.base, pair.after, delta)


def test_a_copy_that_differs_is_refused() -> None:
    pair = Pair(a=changed_at([1]), head=changed_at([1]))
    delta = pair.delta()
    flip(pair.base["head"], 1, 1)
    with pytest.raises(UnitError, match="head do"):
        apply_delta(pair.base, delta)


def test_twice_is_once_too_often() -> None:
    pair = Pair(a=changed_at([1]), b=changed_at([2]))
    delta = pair.delta()
    with pytest.raises(UnitError, match=f"already applied to these.*tiny/base.*{NOT_WRITTEN}"):
        apply_delta(pair.after, delta)
    with pytest.raises(UnitError, match=f"already reverted.*tiny/base.*{NOT_WRITTEN}"):
        revert_delta(pair.base, delta)


def test_half_applied_is_not_applied() -> None:
    pair = Pair(a=changed_at([1]), b=changed_at([2]))
    half = {"a": pair.base["a"], "b": pair.after["b"]}
    with pytest.raises(UnitError, match=f"{FOR_TINY}; b do"):
        apply_delta(half, pair.delta())
    with pytest.raises(UnitError, match=f"{FOR_TINY}; a do"):
        revert_delta(half, pair.delta())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "have no w"),
        ({"w": torch.zeros(6, 9)}, r"there w is \[6, 8\] float32, here it is \[6, 9\] float32"),
        ({"w": torch.zeros(6, 8).half()}, "here it is .* float16"),
    ],
)
def test_weights_of_other_names_shapes_and_types(
    weights: dict[str, torch.Tensor], message: str
) -> None:
    delta = Pair(w=changed_at([1])).delta()
    for use in (apply_delta, revert_delta):
        with pytest.raises(UnitError, match=f"{FOR_TINY}; .*{message}.*{NOT_WRITTEN}"):
            use(weights, delta)


def test_a_result_that_is_not_the_noted_one_is_refused() -> None:
    pair = Pair(w=changed_at([1]))
    delta = pair.delta()
    (part,) = delta.parts
    wrong = replace(delta, parts=(replace(part, xor=part.xor ^ 1),))
    with pytest.raises(UnitError, match=f"The delta is damaged: its w is wrong. {NOT_WRITTEN}"):
        apply_delta(pair.base, wrong)
    with pytest.raises(UnitError, match="damaged"):
        revert_delta(pair.after, wrong)


# --- the file


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A delta file with rows, columns, a whole tensor and a copy."""
    pairs = {"a": changed_at([1]), "b": changed_at((slice(None), [2])), "v": changed_at(..., (3,))}
    Pair(**pairs, head=changed_at([1])).delta().save(tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_round_trip_of_the_file(small: Path) -> None:
    delta = Delta.load(small)
    again = small.with_name("again.safetensors")
    delta.save(again)
    assert again.read_bytes() == small.read_bytes()
    assert delta.base.identifier == "tiny/base"
    assert (delta.base.revision, delta.base.fingerprint) == ("r7", "f" * 64)
    assert (delta.base.values, delta.base.nbytes) == (48 + 48 + 3, 4 * 99)
    assert [part.names for part in delta.parts] == [("a", "head"), ("b",), ("v",)]


def test_the_file_can_be_read_without_this_package(small: Path) -> None:
    with safe_open(small, framework="pt") as file:
        noted = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert noted["format"] == 1
    assert noted["base"]["identifier"] == "tiny/base"
    assert {name: (list(item.shape), item.dtype) for name, item in tensors.items()} == {
        "xor/a": ([1, 8], torch.int32),
        "index/a": ([1], torch.int32),
        "xor/b": ([6, 1], torch.int32),
        "index/b": ([1], torch.int32),
        "xor/v": ([3], torch.int32),
    }
    old, new = changed_at([1])
    row = old[1].view(torch.int32) ^ tensors["xor/a"][0]
    assert raw(row.view(torch.float32)) == raw(new[1])
    assert noted["tensors"][1]["dim"] == 1
    assert ORIGIN.location not in json.dumps(noted)


def test_every_cut_is_noticed(small: Path) -> None:
    content = small.read_bytes()
    for length in range(len(content)):
        small.write_bytes(content[:length])
        with pytest.raises(UnitError, match="damaged"):
            Delta.load(small)


def test_every_flipped_bit_is_noticed(small: Path) -> None:
    """One bit of every byte, another in each."""
    content = small.read_bytes()
    for at in range(len(content)):
        wrong = bytearray(content)
        wrong[at] ^= 1 << (at % 8)
        small.write_bytes(wrong)
        with pytest.raises(UnitError):
            Delta.load(small)


def rewritten(path: Path, noted: object) -> Path:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(copy.deepcopy(tensors), path, {KEY: json.dumps(noted)})
    return path


def test_another_format_is_refused_as_such(small: Path) -> None:
    with pytest.raises(UnitError, match="has format 2, not 1"):
        Delta.load(rewritten(small, {"format": 2}))


@pytest.mark.parametrize("noted", [3, [], {}, {"format": 1}, {"format": 1, "sha256": "0"}])
def test_a_description_of_something_else(small: Path, noted: object) -> None:
    with pytest.raises(UnitError, match="is damaged"):
        Delta.load(rewritten(small, noted))


def test_files_that_are_no_deltas(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(UnitError, match="no such file"):
        Delta.load(path)
    with pytest.raises(UnitError, match="no such file"):
        Delta.load(tmp_path)
    save_file({"w": torch.ones(3)}, path)
    with pytest.raises(UnitError, match="is no unit delta"):
        Delta.load(path)
    torch.save({"w": torch.ones(3)}, path)
    with pytest.raises(UnitError, match="is damaged"):
        Delta.load(path)


def test_a_failed_save_leaves_the_older_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    delta, before = Delta.load(small), small.read_bytes()
    monkeypatch.setattr("ssah_exp.interventions.delta_file.save_file", full)
    with pytest.raises(StoreError, match="disk is full"):
        delta.save(small)
    assert [path.name for path in small.parent.iterdir()] == [small.name]
    assert small.read_bytes() == before


def test_others_may_read_the_file_if_the_umask_lets_them(small: Path) -> None:
    plain = small.with_name("plain")
    plain.touch()
    assert small.stat().st_mode == plain.stat().st_mode


# --- numbers


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
            {"layer": 2, "tensors": {"norm.weight": {"part": "whole", "changed": 1, "of": 5}}},
            {
                "layer": 10,
                "tensors": {
                    "mlp.down_proj.weight": {"part": "columns", "changed": 3, "of": 8},
                    "mlp.up_proj.weight": {"part": "rows", "changed": 2, "of": 6},
                },
            },
        ],
        "others": {"m.embed.weight": {"part": "whole", "changed": 1, "of": 6}},
    }


def test_description_of_entries_and_scalars() -> None:
    pair = Pair(v=changed_at([2], (9,)), s=changed_at(..., ()))
    assert describe(pair.delta())["others"] == {
        "s": {"part": "whole", "changed": 1, "of": 1},
        "v": {"part": "entries", "changed": 1, "of": 9},
    }
