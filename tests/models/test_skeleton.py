"""A model without weights plans a training as the model itself does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ssah_exp.config.schema import ModelConfig, OthersConfig
from ssah_exp.errors import ModelError
from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.load import whole_model
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


@pytest.mark.parametrize("apart", [False, True])
def test_a_head_that_the_files_hold_apart_is_not_tied(apart: bool, tmp_path: Path) -> None:
    """The config ties the two, and the files have both."""
    tiny.tiny_model("llama_tied").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + apart
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    whole, skeleton = whole_model(str(tmp_path)), load_skeleton(str(tmp_path), CONFIG)
    others = OthersConfig(lm_head=True, embeddings=not apart)
    planned, wanted = (plan_training(item, "none", None, others) for item in (skeleton, whole))
    assert planned.whole == wanted.whole
    assert ("lm_head.weight" in planned.whole) == apart


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No model config could be loaded from"):
        load_skeleton(str(tmp_path), CONFIG)
