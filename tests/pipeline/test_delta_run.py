"""The delta that an arm leaves, from end to end on a tiny model; or why it leaves none."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from ssah_exp.config.schema import ArmConfig
from ssah_exp.interventions.delta import Delta, apply_to_folder, revert_in_folder
from ssah_exp.models.weights import read_weights
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.training_table import run_training_table
from tests.pipeline.tiny_run import run, save_data, save_model, training_config, unaligned_config
from tests.pipeline.trained import Weights, entry_of, weights_of
from tests.tiny import tiny_model


def budget_trained(folder: Path) -> tuple[Finished, str]:
    """The unaligned model of a folder with its RU trained, and what the run said."""
    lines = io.StringIO()
    config = unaligned_config(folder)
    config.training.arms.pop("full")
    done = run_training_table(config, Reporter(Console(file=lines, width=300), bars=False))
    return done, lines.getvalue()


def same(made: Weights, wanted: Weights) -> bool:
    return all(torch.equal(made[key], wanted[key]) for key in wanted)


def test_whole_blocks_leave_a_delta_of_their_tensors(place: Path, tmp_path: Path) -> None:
    block = {"_target_": "ssah_exp.units.selectors.Blocks", "first": 2, "last": 2}
    done = run(training_config(place, {"block": ArmConfig("budget", block)}))
    delta = Delta.load(done.folder / "deltas" / "block.safetensors")
    assert delta.parts
    assert all(part.name.startswith("model.layers.1.") for part in delta.parts)
    apply_to_folder(delta, entry_of(done, "align"), tmp_path / "out")
    assert same(read_weights(tmp_path / "out"), weights_of(done, "train block"))


def test_a_start_in_another_precision_has_no_delta_and_that_is_said(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    save_data(tmp_path / "data")
    tiny_model("llama_gqa").bfloat16().save_pretrained(tmp_path / "model")
    done, said = budget_trained(tmp_path)
    assert (done.folder / "models" / "budget" / "model.safetensors").is_file()
    assert not (done.folder / "deltas").exists()
    assert "no delta of budget: " in said
    assert "bfloat16 in the start's files and was trained as float32" in said


FREQUENCIES = "model.layers.0.self_attn.rotary_emb.inv_freq"


@pytest.mark.parametrize(("extra", "fine"), [(FREQUENCIES, True), ("value_head.weight", False)])
def test_tensors_that_the_model_does_not_read_end_no_run(
    tmp_path: Path, extra: str, fine: bool
) -> None:
    """Llama 2's files on the hub hold rotary frequencies; the arm was trained all the same."""
    save_model(tmp_path / "model")
    save_data(tmp_path / "data")
    file = tmp_path / "model" / "model.safetensors"
    save_file({**load_file(file), extra: torch.ones(5)}, file, {"format": "pt"})
    done, said = budget_trained(tmp_path)
    delta = done.folder / "deltas" / "budget.safetensors"
    assert delta.is_file() == fine
    why = f"only one has {extra}, which is in the start's files and no part of the model"
    assert (why in said) != fine
    if fine:
        apply_to_folder(Delta.load(delta), file.parent, tmp_path / "applied")
        assert same(read_weights(tmp_path / "applied"), weights_of(done, "train budget"))
        assert extra in load_file(tmp_path / "applied" / "model.safetensors")
        tuned = done.folder / "models" / "budget"
        revert_in_folder(Delta.load(delta), tuned, tmp_path / "reverted")
        assert same(read_weights(tmp_path / "reverted"), read_weights(file.parent))
