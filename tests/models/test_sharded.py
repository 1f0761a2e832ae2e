"""What torch must be able to do before weights are split over ranks."""

from __future__ import annotations

import pytest
import torch.distributed.fsdp
from torch import nn

from ssah_exp.errors import ConfigError
from ssah_exp.models.anatomy import blocks
from ssah_exp.models.sharded import shard
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
