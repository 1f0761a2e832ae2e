"""The unit delta refused: weights it does not fit, a file that is damaged or something else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ssah_exp.errors import StoreError, UnitError
from ssah_exp.interventions.delta import Delta, apply_delta, revert_delta
from ssah_exp.interventions.plan import Slice
from tests.interventions.pairs import FOR_TINY, Pair, changed_at, flip
from tests.interventions.tuning import ORIGIN, raw

NOT_WRITTEN = r"Nothing was written\.$"
KEY = "ssah-exp unit delta"


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


def test_changes_elsewhere_are_refused_or_where_asked_for_kept() -> None:
    pair = Pair(a=changed_at([1]))
    delta = pair.delta()
    flip(pair.base["a"], 4, 2)
    flip(pair.after["a"], 4, 2)
    with pytest.raises(UnitError, match="other weights are not"):
        apply_delta(pair.base, delta)
    with pytest.raises(UnitError, match="other weights are not"):
        revert_delta(pair.after, delta)
    made = apply_delta(pair.base, delta, other_base=True)
    back = revert_delta(made, delta, other_base=True)
    assert raw(made["a"]) == raw(pair.after["a"])
    assert raw(back["a"]) == raw(pair.base["a"])


@pytest.mark.parametrize(
    "others",
    [
        {"b": torch.zeros(4, 4), "c": torch.ones(4, 4)},  # in each other's place
        {"b": torch.ones(4, 4), "c": torch.ones(4, 4)},  # twice the same
        {"b": torch.ones(4, 4)},
        {"b": torch.ones(4, 4), "c": torch.zeros(4, 4), "d": torch.zeros(4)},
        {"b": torch.ones(4, 4), "c": torch.zeros(4, 4), "d": torch.full((4, 4), 2.0)},
        {"b": torch.ones(4, 4), "c": torch.zeros(4, 4), "d": torch.ones(4)},  # v again
        {"b": torch.ones(2, 8), "c": torch.zeros(4, 4)},
        {"b": torch.ones(4, 4).view(torch.int32), "c": torch.zeros(4, 4)},
    ],
)
def test_untouched_tensors_count_by_their_names(others: dict[str, torch.Tensor]) -> None:
    vector = {"v": torch.ones(4)}
    same = {"b": torch.ones(4, 4), "c": torch.zeros(4, 4), **vector}
    pair = Pair(a=changed_at([1]), **{name: (item, item) for name, item in same.items()})
    delta = pair.delta()
    assert apply_delta({"a": pair.base["a"], **same}, delta).keys() == {"a", *same}
    with pytest.raises(UnitError, match=r"other weights are not \([bcd]"):
        apply_delta({"a": pair.base["a"], **others, **vector}, delta)


def test_an_equal_vector_does_not_stand_in_for_one_that_is_missing() -> None:
    """Norms that nobody trained are all ones, and none is tied to another."""
    ones = torch.ones(4)
    pair = Pair(a=changed_at([1]), v=(ones, ones), w=(ones, ones))
    with pytest.raises(UnitError, match=r"other weights are not \(w\)"):
        apply_delta({"a": pair.base["a"], "v": ones}, pair.delta())


def test_tied_matrices_that_stay_as_they_are_may_be_spelled_out_or_not() -> None:
    tied = torch.arange(12.0).reshape(3, 4)
    both = {"embed": tied, "head": tied.clone()}
    for spelled in (both, {"embed": tied}, {"head": tied}):
        pair = Pair(a=changed_at([1]), **{name: (item, item) for name, item in spelled.items()})
        delta = pair.delta()
        for given in (both, {"embed": tied}, {"head": tied}):
            assert raw(apply_delta({"a": pair.base["a"], **given}, delta)["a"]) == raw(
                pair.after["a"]
            )


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
    assert noted["format"] == 3
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


def test_cuts_are_noticed_wherever_they_are(small: Path) -> None:
    content = small.read_bytes()
    for length in (*range(0, len(content), 7), len(content) - 1):
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
    with pytest.raises(UnitError, match="has format 1, not 3"):
        Delta.load(rewritten(small, {"format": 1}))


@pytest.mark.parametrize("noted", [3, [], {}, {"format": 3}, {"format": 3, "sha256": "0"}])
def test_a_description_of_something_else(small: Path, noted: object) -> None:
    with pytest.raises(UnitError, match="is damaged"):
        Delta.load(rewritten(small, noted))


@pytest.mark.parametrize("row", [-1, 6])
def test_positions_outside_a_tensor_are_refused(small: Path, row: int) -> None:
    """Though the checksum is right: a program of another's may have written them."""
    delta = Delta.load(small)
    place = Slice("a", 0, torch.tensor([row]), 6)
    replace(delta, parts=(replace(delta.parts[0], place=place),)).save(small)
    with pytest.raises(UnitError, match="positions outside a"):
        Delta.load(small)


@pytest.mark.parametrize("dim", [2, -3])
def test_a_side_that_a_tensor_does_not_have_is_damage(small: Path, dim: int) -> None:
    delta = Delta.load(small)
    place = Slice("a", dim, torch.tensor([1]), 6)
    replace(delta, parts=(replace(delta.parts[0], place=place),)).save(small)
    with pytest.raises(UnitError, match="is damaged"):
        Delta.load(small)


@pytest.mark.parametrize("change", [torch.Tensor.long, lambda xor: xor[:, :4]])
def test_bits_of_another_kind_than_the_tensor_are_refused(
    small: Path, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    delta = Delta.load(small)
    part = delta.parts[0]
    replace(delta, parts=(replace(part, xor=change(part.xor)),)).save(small)
    with pytest.raises(UnitError, match="another shape or type than noted for a"):
        Delta.load(small)


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
