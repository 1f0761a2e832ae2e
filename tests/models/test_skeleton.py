"""A model without weights plans a training as the model itself does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.skeleton import load_skeleton
from tests import tiny

CONFIG = ModelConfig(name="tiny", source={}, device="cpu", end_of_turn="<|end|>")


@pytest.mark.parametrize("policy", ["freeze", "budget"])
def test_it_plans_as_the_model_does(family: str, policy: str, tmp_path: Path) -> None:
    model = tiny.tiny_model(family)
    model.save_pretrained(tmp_path)
    skeleton = load_skeleton(str(tmp_path), CONFIG)
    assert read_anatomy(skeleton) == read_anatomy(model)
    assert {item.device.type for item in skeleton.parameters()} == {"meta"}
    chosen = np.random.default_rng(0).random(read_anatomy(model).units) < 0.3
    planned, wanted = (plan_training(item, policy, chosen) for item in (skeleton, model))
    assert (planned.whole, planned.frozen) == (wanted.whole, wanted.frozen)
    assert planned.by_name.keys() == wanted.by_name.keys()
    for name, part in planned.by_name.items():
        assert torch.equal(part.index, wanted.by_name[name].index)
        assert (part.dim, part.size) == (wanted.by_name[name].dim, wanted.by_name[name].size)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No model config could be loaded from"):
        load_skeleton(str(tmp_path), CONFIG)
