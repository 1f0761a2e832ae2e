"""A model spread by a device map, part of it on disk, answers as the model in one place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ssah_exp.config.schema import ModelConfig, TrainerConfig, UnitsConfig
from ssah_exp.errors import ModelError
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.perplexity import window_losses
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.interventions.ablate import ablated, plan_ablation
from ssah_exp.interventions.plan import plan_training
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.models.placement import first_device, offloaded, placement
from ssah_exp.models.sizes import KINDS
from ssah_exp.training.certificate import frozen_digests
from ssah_exp.units.identify import identify
from tests import tiny
from tests.training.planning import some_units

CALIBRATION = {"safety": tiny.conversations(5, seed=1), "utility": tiny.conversations(6, seed=2)}
FAMILIES = ("llama_gqa", "llama_tied", "gemma2")


def device_map() -> dict[str, str]:
    """The middle block is on disk, as on a machine whose memory does not hold the model."""
    blocks = {f"model.layers.{at}": "cpu" for at in range(tiny.LAYERS)}
    rest = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    return {**rest, **blocks, "model.layers.1": "disk"}


def load(folder: Path, family: str, *, spread: bool) -> LoadedModel:
    place = folder / family
    if not place.exists():
        tiny.tiny_model(family).save_pretrained(place)
        tiny.tiny_tokenizer().save_pretrained(place)
    config = ModelConfig(
        name="tiny",
        source={},
        device="cpu",
        device_map=device_map() if spread else None,
        offload_folder=str(folder / "offload") if spread else None,
        end_of_turn="<|end|>",
        attn_implementation="eager" if family == "gemma2" else "sdpa",
    )
    return load_model(str(place), config)


@pytest.mark.parametrize("family", FAMILIES)
def test_identification_and_evaluation_are_the_same(tmp_path: Path, family: str) -> None:
    plain, spread = (load(tmp_path, family, spread=item) for item in (False, True))
    assert not offloaded(plain.model)
    assert not plain.placed
    assert offloaded(spread.model), "else this test shows nothing"
    assert spread.placed
    assert spread.device == torch.device("cpu")
    units, trainer = UnitsConfig(batch_size=4), TrainerConfig(accelerator="cpu", progress=False)
    one, two = (identify(item, CALIBRATION, units, trainer) for item in (plain, spread))
    for kind in KINDS:
        assert torch.equal(one.column_norms[kind], two.column_norms[kind])
        for name in ("mean", "variance", "flap"):
            wanted, found = (getattr(item.safety.by_kind[kind], name) for item in (one, two))
            assert torch.equal(wanted, found), (kind, name)
    assert offloaded(spread.model), "the pass left every weight where it was"
    _compare_evaluation(plain, spread)


def _compare_evaluation(plain: LoadedModel, spread: LoadedModel) -> None:
    anatomy = plain.anatomy
    assert spread.anatomy == anatomy
    chosen = np.zeros(anatomy.units, dtype=bool)
    chosen[::3] = True
    fills = {
        kind: torch.full((anatomy.layers, anatomy.channels(kind)), 2.0, dtype=torch.float64)
        for kind in KINDS
    }
    prompts = [Prompt(tuple(tiny.random_words(4 + at, at)), "same") for at in range(3)]
    windows = torch.tensor([tiny.random_words(9, seed) for seed in range(3)])
    seen = []
    for loaded in (plain, spread):
        found = [generate(loaded, prompts, Decoding(4, 2, True)), window_losses(loaded, windows, 2)]
        with ablated(loaded.model, plan_ablation(chosen, anatomy, fills)):
            found.append(window_losses(loaded, windows, 2))
        seen.append(found)
    assert seen[0] == seen[1]
    assert seen[0][1] != seen[0][2], "the ablation did something"
    assert tiny.pre_hooks(spread.model) == 0


def test_the_certificate_reads_weights_on_disk(tmp_path: Path) -> None:
    plain, spread = (load(tmp_path, "llama_gqa", spread=item) for item in (False, True))
    plan = plan_training(plain.model, "budget", some_units(plain.model))
    assert frozen_digests(plain.model, plan) == frozen_digests(spread.model, plan)
    assert offloaded(spread.model)


def test_where_inputs_go() -> None:
    assert first_device({"a": "cpu", "b": 1, "c": 0}) == torch.device("cuda", 1)
    assert first_device({"a": "cpu", "b": "cuda:1"}) == torch.device("cuda", 1)
    assert first_device({"a": "disk", "b": "cpu"}) == torch.device("cpu")


@pytest.mark.parametrize(
    ("spread", "device_map"),
    [
        (False, None),
        (False, {"": 0}),
        (False, {"model": "cpu", "lm_head": torch.device("cpu")}),
        (True, {"model": "cpu", "lm_head": "disk"}),
        (True, {"model": 0, "lm_head": 1}),
    ],
)
def test_a_model_in_one_place_is_not_spread(
    spread: bool, device_map: dict[str, object] | None
) -> None:
    """A map that names one device is a plain model: it has no hooks, and may be trained."""
    model = tiny.tiny_model("llama")
    model.hf_device_map = device_map  # type: ignore[assignment]
    assert placement(model) == (device_map if spread else {})


def test_an_adapter_cannot_lie_beside_offloaded_weights(tmp_path: Path) -> None:
    load(tmp_path, "llama_gqa", spread=False)
    (tmp_path / "llama_gqa" / "adapter").mkdir()
    with pytest.raises(ModelError, match="cannot be offloaded"):
        load(tmp_path, "llama_gqa", spread=True)
