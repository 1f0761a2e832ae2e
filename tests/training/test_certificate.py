"""The certificate: it holds where it should and fails where a single bit moved."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ssah_exp.config.schema import OthersConfig
from ssah_exp.errors import ModelError
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.training.certificate import (
    Certificate,
    Witness,
    check_certificate,
    copy_certificate,
    digest_tensors,
    frozen_digests,
    has_certificate,
    load_plan,
    read_summary,
    save_certificate,
)
from tests.tiny import tiny_model
from tests.training.planning import masks_of, some_units


def planned(model: nn.Module) -> TrainingPlan:
    return plan_training(model, "budget", some_units(model))


@torch.no_grad()
def change(model: nn.Module, plan: TrainingPlan, amount: float = 1.0) -> int:
    """Add to every changeable weight; how many there are."""
    masks = masks_of(model, plan)
    for name, item in model.named_parameters():
        item.add_(amount * masks[name])
    return sum(int(mask.sum()) for mask in masks.values())


@torch.no_grad()
def flip_lowest_bit(model: nn.Module, plan: TrainingPlan, kind: str) -> str:
    """Of one frozen weight: in a slice's rest, or in a parameter frozen whole."""
    masks = masks_of(model, plan)
    names = plan.frozen if kind == "whole" else [item.name for item in plan.slices]
    name = sorted(names)[0]
    item = dict(model.named_parameters())[name]
    at = (~masks[name]).nonzero()[-1].tolist()
    bits = item.data.view(torch.int32)
    bits[tuple(at)] ^= 1
    return name


@pytest.mark.parametrize("policy", ["budget", "freeze"])  # parts of tensors; whole ones, too
def test_it_counts_what_changed(family: str, policy: str) -> None:
    model = tiny_model(family)
    plan = plan_training(model, policy, some_units(model))
    assert bool(plan.whole) == (policy == "freeze")
    witness = Witness(model, plan)
    count = change(model, plan)
    certificate = witness.certify(model)
    total = sum(item.numel() for item in model.parameters())
    assert certificate.changed_weights == certificate.changeable_weights == count
    assert certificate.frozen_weights == total - count
    assert certificate.change_norm == pytest.approx(count**0.5, rel=1e-6)
    assert sorted(certificate.frozen) == sorted([*plan.frozen, *plan.by_name])


def test_a_module_s_weights_are_brought_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offloaded weight and its bias come and go together: no thread may end another's turn."""
    looks: Counter[int] = Counter()

    @contextmanager
    def slowly(module: nn.Module) -> Iterator[None]:
        looks[id(module)] += 1
        time.sleep(0.01)
        yield

    monkeypatch.setattr("ssah_exp.training.certificate.weights_at_hand", slowly)
    model = tiny_model("qwen2")
    found = frozen_digests(model, planned(model))
    assert {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias"} <= {
        *found
    }
    assert set(looks.values()) == {1}


@pytest.mark.parametrize("kind", ["whole", "slice"])
def test_one_frozen_bit_is_enough_to_fail(family: str, kind: str) -> None:
    model = tiny_model(family)
    plan = planned(model)
    witness = Witness(model, plan)
    change(model, plan)
    name = flip_lowest_bit(model, plan, kind)
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        witness.certify(model)


def test_a_model_that_did_not_change_fails() -> None:
    model = tiny_model("llama_gqa")
    with pytest.raises(ModelError, match="not one weight"):
        Witness(model, planned(model)).certify(model)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite_fail(value: str) -> None:
    model = tiny_model("llama_gqa")
    plan = planned(model)
    witness = Witness(model, plan)
    with torch.no_grad():
        name, part = next(iter(plan.by_name.items()))
        part.put(
            model.get_parameter(name),
            torch.tensor(float(value)).expand_as(part.take(model.get_parameter(name))),
        )
    with pytest.raises(ModelError, match="not finite"):
        witness.certify(model)


def test_low_precision_is_compared_by_its_bits() -> None:
    model = tiny_model("llama_gqa", dtype=torch.bfloat16)
    plan = planned(model)
    witness = Witness(model, plan)
    before = {name: item.detach().double() for name, item in model.named_parameters()}
    count = change(model, plan)
    certificate = witness.certify(model)
    assert certificate.changed_weights == count
    moved = [item.detach().double() - before[name] for name, item in model.named_parameters()]
    norm = sum(float(item.square().sum()) for item in moved) ** 0.5
    assert certificate.change_norm == pytest.approx(norm, rel=1e-12), "in float64"


@pytest.mark.parametrize("chunk", [7, 1 << 30])  # no tensor here fills the shipped one
def test_values_are_compared_to_the_last(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssah_exp.training.certificate._CHUNK", chunk)
    model = tiny_model("llama_gqa")
    plan = planned(model)
    item = model.get_parameter(min(plan.by_name))
    part = plan.by_name[min(plan.by_name)].take(item.detach())
    for at, step in ((0, 3.0), (part.numel() - 1, 4.0)):
        part.view(-1)[at] += step
    witness = Witness(model, plan)
    plan.by_name[min(plan.by_name)].put(item.data, part)
    certificate = witness.certify(model)
    assert certificate.changed_weights == 2
    assert certificate.change_norm == pytest.approx(5.0, rel=1e-6)


def test_what_was_trained_beside_the_weights_counts() -> None:
    model = tiny_model("llama_gqa")
    plan = planned(model)
    alone, both = Witness(model, plan), Witness(model, plan)
    count = change(model, plan)
    beside = {"prefix": (torch.zeros(2, 3), torch.full((2, 3), 2.0))}
    without, certificate = alone.certify(model), both.certify(model, beside)
    assert certificate.changed_weights == certificate.changeable_weights == count + 6
    assert certificate.frozen_weights == without.frozen_weights
    assert certificate.change_norm == pytest.approx((count + 6 * 4) ** 0.5, rel=1e-6)


def test_both_looks_count_in_the_time_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 100.0, 102.0])
    monkeypatch.setattr("ssah_exp.training.certificate.time.perf_counter", lambda: next(ticks))
    model = tiny_model("llama_gqa")
    witness = Witness(model, planned(model))
    change(model, planned(model))
    assert witness.certify(model).seconds == 3.0


def test_of_many_tensors_that_moved_five_are_named() -> None:
    model = tiny_model("llama_gqa")
    plan = planned(model)
    for moved in (5, 6):
        witness = Witness(model, plan)
        with torch.no_grad():
            for name in plan.frozen[:moved]:
                model.get_parameter(name).add_(1.0)
            change(model, plan)
        with pytest.raises(ModelError) as refused:
            witness.certify(model)
        assert sum(name in str(refused.value) for name in plan.frozen[:moved]) == 5
        assert ("and 1 more" in str(refused.value)) == (moved == 6)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[nn.Module, TrainingPlan, Path]:
    """Under a plan with parameters of all three kinds: in part, whole, frozen."""
    model = tiny_model("llama_gqa")
    plan = plan_training(model, "budget", some_units(model), OthersConfig(norms=True))
    witness = Witness(model, plan)
    change(model, plan)
    save_certificate(witness.certify(model), plan, tmp_path)
    return model, plan, tmp_path


def test_a_saved_certificate_holds_for_the_model_it_was_made_for(
    saved: tuple[nn.Module, TrainingPlan, Path],
) -> None:
    model, plan, folder = saved
    assert plan.slices
    assert plan.whole
    assert plan.frozen
    assert has_certificate(folder)
    check_certificate(model, folder)
    change(model, plan, 0.5)  # what may change is not certified
    check_certificate(model, folder)
    again = load_plan(folder)
    assert again.whole == plan.whole
    assert again.frozen == plan.frozen
    for ours, theirs in zip(sorted(again.by_name), sorted(plan.by_name), strict=True):
        assert ours == theirs
        assert torch.equal(again.by_name[ours].index, plan.by_name[theirs].index)


@pytest.mark.parametrize("kind", ["whole", "slice"])
def test_it_is_checked_again_when_a_model_is_loaded(
    saved: tuple[nn.Module, TrainingPlan, Path], kind: str
) -> None:
    model, plan, folder = saved
    name = flip_lowest_bit(model, plan, kind)
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        check_certificate(model, folder)


def test_another_model_is_refused(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    with pytest.raises(ModelError, match="of another model"):
        check_certificate(tiny_model("phi3"), saved[2])


@contextmanager
def rewritten(folder: Path) -> Iterator[dict[str, Any]]:
    """A saved certificate's JSON, written back as the block leaves it."""
    path = folder / "certificate.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    yield content
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("key", ["frozen", "frozen_tensors", "whole_tensors", "slices"])
def test_a_certificate_that_leaves_something_out_is_refused(
    saved: tuple[nn.Module, TrainingPlan, Path], key: str
) -> None:
    """What it does not speak of would pass, whatever became of it."""
    model, _, folder = saved
    with rewritten(folder) as content:
        content[key] = type(content[key])()
    with pytest.raises(ModelError, match="is damaged: it says nothing of"):
        check_certificate(model, folder)


def test_a_copy_beside_the_same_weights_holds_and_still_sees_a_bit(
    saved: tuple[nn.Module, TrainingPlan, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, plan, folder = saved
    other = tmp_path_factory.mktemp("copy")
    copy_certificate(folder, other)
    check_certificate(model, other)
    flip_lowest_bit(model, plan, "slice")
    with pytest.raises(ModelError, match="Frozen weights changed"):
        check_certificate(model, other)


def test_every_bit_of_every_tensor_counts_where_ranks_are_compared() -> None:
    tensors = [torch.arange(4.0), torch.ones(2, 3), torch.zeros(5)]
    found = {digest_tensors(tensors), digest_tensors(tensors[::-1])}
    for item in tensors:
        other = item.clone()
        other.view(-1).view(torch.int32)[-1] ^= 1
        found.add(digest_tensors([other if one is item else one for one in tensors]))
    assert len(found) == 2 + len(tensors)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_count_of_frozen_weights_that_is_not_theirs_is_damage(
    saved: tuple[nn.Module, TrainingPlan, Path], more: int
) -> None:
    model, _, folder = saved
    with rewritten(folder) as content:
        content["frozen_weights"] += more
    with pytest.raises(ModelError, match=r"counts \d+ frozen weights and names \d+"):
        check_certificate(model, folder)


@pytest.mark.parametrize(
    "wrong",
    [
        "an index beyond the weights",
        "an index right behind them",
        "an index before them",
        "a table of indices",
        "numbers with a point",
        "another size",
        "another side",
        "a side below zero",
    ],
)
def test_slices_that_do_not_fit_are_damage(
    saved: tuple[nn.Module, TrainingPlan, Path], wrong: str
) -> None:
    model, plan, folder = saved
    path, index_path = folder / "certificate.json", folder / "certificate_index.safetensors"
    content, index = json.loads(path.read_text(encoding="utf-8")), load_file(index_path)
    name = plan.slices[0].name
    if wrong == "an index beyond the weights":
        index[name][-1] = 10_000
    elif wrong == "an index right behind them":
        index[name][-1] = plan.slices[0].size
    elif wrong == "an index before them":
        index[name][0] = -1
    elif wrong == "a table of indices":
        index[name] = index[name][None]
    elif wrong == "numbers with a point":
        index[name] = index[name].double()
    elif wrong == "another size":
        content["slices"][name]["size"] += 1
    else:
        content["slices"][name]["dim"] = 2 if wrong == "another side" else -7
    save_file(index, index_path)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=f"its slice of {name} does not fit".replace(".", r"\.")):
        check_certificate(model, folder)


def test_a_certificate_rewritten_to_freeze_nothing_is_refused(
    saved: tuple[nn.Module, TrainingPlan, Path],
) -> None:
    """Every name in it, and all of them free to change: nothing would be checked."""
    model, _, folder = saved
    with rewritten(folder) as content:
        content |= {"frozen": {}, "frozen_tensors": [], "slices": {}}
        content["whole_tensors"] = [name for name, _ in model.named_parameters()]
    with pytest.raises(ModelError, match=r"counts \d+ frozen weights and names 0"):
        check_certificate(model, folder)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])  # as transformers called it before 5
def test_another_precision_is_said_to_be_one(
    saved: tuple[nn.Module, TrainingPlan, Path], key: str
) -> None:
    model, _, folder = saved
    (folder / "config.json").write_text(json.dumps({key: "float32"}), encoding="utf-8")
    check_certificate(model, folder)
    with pytest.raises(ModelError, match=r"Set model\.precision=float32\."):
        check_certificate(model.bfloat16(), folder)


def test_where_no_precision_is_noted_the_bits_decide(
    saved: tuple[nn.Module, TrainingPlan, Path],
) -> None:
    model, _, folder = saved
    (folder / "config.json").write_text("{}", encoding="utf-8")
    check_certificate(model, folder)
    with pytest.raises(ModelError, match="Frozen weights changed"):
        check_certificate(model.bfloat16(), folder)


def test_damage_is_named(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    model, _, folder = saved
    path = folder / "certificate.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(ModelError, match="missing or damaged"):
        check_certificate(model, folder)


def test_parts_of_another_kind_are_damage(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    model, _, folder = saved
    with rewritten(folder) as content:
        content["slices"] = ["a list"]
    with pytest.raises(ModelError, match="missing or damaged"):
        check_certificate(model, folder)


def test_a_damaged_config_beside_it_is_named(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    model, _, folder = saved
    (folder / "config.json").write_text('{"dtype": ', encoding="utf-8")
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        check_certificate(model, folder)


def test_the_summary_has_one_digest(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    summary = read_summary(saved[2])
    assert len(summary["frozen_sha256"]) == 64
    assert summary["frozen_tensors"] == len(saved[1].frozen) + len(saved[1].slices)
    assert "frozen" not in summary
    json.dumps(summary)


def test_every_tensor_counts_in_that_digest(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    made = read_summary(saved[2])["frozen_sha256"]
    path = saved[2] / "certificate.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    found = {made}
    for name in content["frozen"]:
        other = {**content, "frozen": {**content["frozen"], name: "0" * 64}}
        path.write_text(json.dumps(other), encoding="utf-8")
        found.add(read_summary(saved[2])["frozen_sha256"])
    assert len(found) == len(content["frozen"]) + 1 > 10


def test_the_time_it_took_is_in_no_file(saved: tuple[nn.Module, TrainingPlan, Path]) -> None:
    """Else equal weights would be different cache entries. Files that have it are still read."""
    _, plan, folder = saved
    path = folder / "certificate.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    fields = Certificate.__dataclass_fields__.keys() & content.keys()
    assert fields == Certificate.__dataclass_fields__.keys() - {"seconds"}
    assert "seconds" not in read_summary(folder)
    before = path.read_bytes()
    certificate = Certificate(**{name: content[name] for name in fields}, seconds=9.5)
    save_certificate(certificate, plan, folder)
    assert path.read_bytes() == before
    path.write_text(json.dumps({**content, "seconds": 1.5}), encoding="utf-8")
    assert read_summary(folder)["seconds"] == 1.5
