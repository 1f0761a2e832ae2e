"""How weights are split over ranks, and what torch must be able to do before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed.fsdp
from torch import nn

from ssah_exp.errors import ConfigError
from ssah_exp.models.anatomy import blocks
from ssah_exp.models.sharded import is_sharded, shard, through_model, without_gradients
from tests import tiny


def test_a_torch_that_can_keep_nothing_whole_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(module: nn.Module, *, mesh: object, mp_policy: object) -> None:
        raise AssertionError("nothing may be split before")

    monkeypatch.setattr(torch.distributed.fsdp, "fully_shard", older)
    model = tiny.tiny_model("llama")
    with pytest.raises(ConfigError, match=r"an adapter's own weights whole.* from 2\.7"):
        shard(model, None, set(model.parameters()))  # type: ignore[arg-type]


def test_nothing_is_asked_of_it_where_all_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    split: list[nn.Module] = []

    def older(module: nn.Module, *, mesh: object, mp_policy: object) -> None:
        split.append(module)

    monkeypatch.setattr(torch.distributed.fsdp, "fully_shard", older)
    model = tiny.tiny_model("llama")
    shard(model, None, set())  # type: ignore[arg-type]
    assert split[-1] is model


def test_each_part_is_made_ready_right_before_it_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, nn.Module]] = []

    def fully_shard(module: nn.Module, *, mesh: object, mp_policy: object) -> None:
        steps.append(("split", module))

    monkeypatch.setattr(torch.distributed.fsdp, "fully_shard", fully_shard)
    model = tiny.tiny_model("llama")
    shard(model, None, before=lambda part: steps.append(("ready", part)))  # type: ignore[arg-type]
    parts = [*blocks(model), model]
    assert len(parts) > 2
    assert steps == [(what, part) for part in parts for what in ("ready", "split")]


class Split:
    """Notes what is split, how, and whenever the whole model would be gathered."""

    def __init__(self) -> None:
        self.parts: list[nn.Module] = []
        self.given: list[dict[str, Any]] = []
        self.gathered = 0

    def __call__(
        self, module: nn.Module, *, ignored_params: set[nn.Parameter] | None = None, **given: Any
    ) -> None:
        self.parts.append(module)
        self.given.append({**given, "ignored": ignored_params})
        module.register_forward_pre_hook(lambda *_: self.gather(module))

    def gather(self, module: nn.Module) -> None:
        self.gathered += module is self.parts[-1]


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Split:
    stand_in = Split()
    monkeypatch.setattr(torch.distributed.fsdp, "fully_shard", stand_in)
    return stand_in


@pytest.mark.parametrize("precision", [None, torch.float16])
def test_shards_compute_in_the_model_s_precision_and_exchange_float32(
    split: Split, precision: torch.dtype | None
) -> None:
    """A sum over ranks in bfloat16 would lose the small shares."""
    mesh: Any = object()
    shard(tiny.tiny_model("llama", dtype=torch.bfloat16), mesh, precision=precision)
    assert len(split.given) > 2
    for given in split.given:
        policy = given["mp_policy"]
        assert policy.param_dtype == (precision or torch.bfloat16)
        assert policy.reduce_dtype == torch.float32
        assert not policy.cast_forward_inputs
        assert given["mesh"] is mesh
        assert given["ignored"] is None


def test_what_is_kept_whole_is_split_nowhere(split: Split) -> None:
    kept, mesh = nn.Parameter(torch.zeros(3)), SimpleNamespace(device_type="cpu")
    shard(tiny.tiny_model("llama"), mesh, {kept})  # type: ignore[arg-type]
    assert len(split.given) > 2
    assert all(given["ignored"] == {kept} for given in split.given)


def test_parts_of_a_sharded_model_are_computed_within_a_call_of_it(split: Split) -> None:
    """Outside of it, embeddings and head are shards."""
    model, ids = tiny.tiny_model("llama"), torch.tensor([[3, 4, 5]])
    plain = model(ids).logits
    assert not is_sharded(model)
    assert isinstance(without_gradients(model), torch.inference_mode)
    assert through_model(model, lambda: split.gathered) == 0
    shard(model, None)  # type: ignore[arg-type]
    assert is_sharded(model)
    assert isinstance(without_gradients(model), torch.no_grad)
    assert through_model(model, lambda: split.gathered) == 1
    assert torch.equal(model(ids).logits, plain), "other calls are what they were"
    assert split.gathered == 2
