"""Arms of finished runs as plain folders: the same model, certified, described, no overwriting."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ssah_exp.cache import MARKER
from ssah_exp.cli import main
from ssah_exp.config.schema import ArmConfig
from ssah_exp.digest import digest_file, digest_of
from ssah_exp.interventions.ablate import ablated
from ssah_exp.models.load import load_model
from ssah_exp.pipeline.exporting import arm_weights
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.reopening import models_of
from ssah_exp.reporting.text import estimate_text
from ssah_exp.training.certificate import check_certificate, has_certificate
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.unitmap import UnitMap
from tests.pipeline.test_reopening import overrides
from tests.pipeline.tiny_run import WINDOW, of_class, run, tiny_config, training_config
from tests.pipeline.trained import arm_of, cache_of, entry_of

Capture = pytest.CaptureFixture[str]


def given(place: Path) -> list[str]:
    """Where the model lies; of data nothing is needed."""
    return [part for part in overrides(place) if "data." not in part and part != "--set"]


def export(finished: Finished, place: Path, arm: str, out: Path) -> int:
    options = [part for item in given(place) for part in ("--set", item)]
    return main(["export", str(finished.folder), arm, str(out), *options])


@pytest.fixture(scope="module")
def trained(place: Path) -> Finished:
    arms = {"full": ArmConfig(), "budget": ArmConfig("budget", of_class("RU"))}
    return run(training_config(place, arms, "to_export"))


def losses(folder: Path, text: Path) -> list[float]:
    """Of the run's text windows, by plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer(text.read_text()).input_ids)
    windows = ids[: len(ids) // WINDOW * WINDOW].reshape(-1, WINDOW)
    with torch.no_grad():
        return [float(model(row[None], labels=row[None]).loss) for row in windows]


@pytest.mark.parametrize(
    "arm", ["unaligned", "aligned", "SCU/pooled", "RU/pooled", "SCU/zero", "SCU/pooled/matched/1"]
)
def test_an_arm_of_a_pruning_table_is_the_hooked_model(
    finished: Finished, place: Path, tmp_path: Path, arm: str
) -> None:
    out = tmp_path / "out"
    assert export(finished, place, arm, out) == 0
    models = models_of(finished.folder, given(place))
    weights = arm_weights(models, finished.folder, arm)
    hooked = load_model(weights.ref.location, models.config.model)
    ids = torch.arange(3, 40)[None]
    exported = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    with torch.no_grad():
        plain = hooked.model(input_ids=ids).logits
        expected = plain
        if weights.ablation is not None:
            with ablated(hooked.model, weights.ablation):
                expected = hooked.model(input_ids=ids).logits
            assert not torch.allclose(expected, plain, atol=1e-3), "the ablation does something"
        torch.testing.assert_close(exported(input_ids=ids).logits, expected, atol=2e-4, rtol=1e-4)
    outcomes = arm_of(finished, arm).outcomes
    assert outcomes is not None
    np.testing.assert_allclose(losses(out, place / "data/text.txt"), outcomes.losses, atol=2e-4)


def test_card_and_provenance_say_what_it_is(
    finished: Finished, place: Path, tmp_path: Path
) -> None:
    assert export(finished, place, "SCU/pooled", tmp_path / "out") == 0
    arm = arm_of(finished, "SCU/pooled")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert f"# SCU/pooled, run {finished.record.run_id}" in card
    assert f"class SCU, {arm.units} heads and neurons" in card
    assert "**Not for use.**" in card
    perplexity = estimate_text(arm.metrics["perplexity"], "perplexity")
    assert f"| perplexity |  | {perplexity} |" in card
    assert "| ASR %, raw text | first | " in card
    text = (tmp_path / "out/ssah_exp.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert (found["run_id"], found["arm"]["units"]) == (finished.record.run_id, arm.units)
    assert found["weights_fingerprint"] == finished.record.models["aligned"]["fingerprint"]
    assert len(found["ablation_fingerprint"]) == 64
    assert str(place) not in text + card


def test_a_model_that_links_to_files_of_elsewhere_is_not_exported(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A chat template may be any text, and would stand in a folder that is to be published."""
    shutil.copytree(place / "model", tmp_path / "model")
    template = tmp_path / "model/chat_template.jinja"
    template.rename(tmp_path / "private")
    template.symlink_to(tmp_path / "private")
    assert export(finished, tmp_path, "unaligned", tmp_path / "out") == 2
    assert f"{template} is a link out of its model's folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arm", ["full", "budget"])
def test_a_trained_arm_is_bit_for_bit_the_one_that_was_certified(
    trained: Finished, place: Path, tmp_path: Path, arm: str
) -> None:
    out = tmp_path / "out"
    assert export(trained, place, arm, out) == 0
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (entry_of(trained, f"train {arm}"), out)
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    check_certificate(AutoModelForCausalLM.from_pretrained(out), out)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "weights were free to change" in card
    outcomes = arm_of(trained, arm).outcomes
    assert outcomes is not None
    np.testing.assert_allclose(losses(out, place / "data/text.txt"), outcomes.losses, atol=2e-4)


def test_a_certificate_stays_behind_where_weights_of_it_are_ablated(
    trained: Finished, place: Path, tmp_path: Path
) -> None:
    """The run's model may be an arm of another run: frozen weights are among the ablated ones."""
    (tmp_path / "data").symlink_to(place / "data")
    assert export(trained, place, "budget", tmp_path / "model") == 0
    config = tiny_config(tmp_path)
    config.alignment.enabled = False
    config.ablation.classes, config.ablation.fills = ["RU"], ["pooled"]
    config.ablation.fills_of, config.ablation.controls.of = [], []
    pruned = run(config)
    for arm, certified in (("aligned", True), ("RU/pooled", False)):
        assert export(pruned, tmp_path, arm, tmp_path / arm) == 0
        assert has_certificate(tmp_path / arm) == certified
        load_model(str(tmp_path / arm), config.model)


def test_weights_that_break_their_certificate_are_not_exported(
    trained: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A frozen weight moved, and whoever moved it made the cache entry whole again."""
    moved = moved_to(tmp_path / "root", trained)
    entry = entry_of(moved, "train budget")
    weights = load_file(entry / "model.safetensors")
    name = "model.norm.weight"
    save_file({**weights, name: weights[name] + 1}, entry / "model.safetensors", {"format": "pt"})
    assert export(moved, place, "budget", tmp_path / "out") == 2
    assert "cannot be used" in capsys.readouterr().err, "the cache sees it first"
    _forge(entry)
    assert export(moved, place, "budget", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "Frozen weights changed" in said
    assert name in said
    assert not (tmp_path / "out").exists()


def test_a_training_that_was_pruned_is_named_with_what_brings_it_back(
    trained: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    moved = moved_to(tmp_path / "root", trained)
    shutil.rmtree(entry_of(moved, "train budget"))
    assert export(moved, place, "budget", tmp_path / "out") == 2
    said = capsys.readouterr().err
    run_id = f"{moved.record.artefact}/{moved.record.run_id}"
    assert f"What run {run_id} kept of 'train budget' is not at hand" in said
    assert "it was deleted, as by 'cache prune'" in said
    assert "'ssah-exp run' with the same overrides" in said


def moved_to(root: Path, finished: Finished) -> Finished:
    """A copy of everything below the run's root."""
    old = cache_of(finished).parent
    shutil.copytree(old, root, symlinks=True)
    return replace(finished, folder=root / finished.folder.relative_to(old))


def _forge(entry: Path) -> None:
    """Write the marker anew, as for an entry that is whole."""
    marker = json.loads((entry / MARKER).read_text())
    marker["files"] = {name: digest_file(entry / name) for name in marker["files"]}
    marker["digest"] = digest_of(marker["files"])
    (entry / MARKER).write_text(json.dumps(marker))


def test_what_is_there_is_not_overwritten(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "out").write_text("mine")
    assert export(finished, place, "aligned", tmp_path / "out") == 2
    assert "exists already; nothing was written" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_an_unknown_arm_and_a_folder_that_is_no_run(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert export(finished, place, "SCU/poled", tmp_path / "out") == 2
    assert "has no arm 'SCU/poled'. Did you mean 'SCU/pooled'?" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "aligned", str(tmp_path / "out")]) == 2
    assert "is no finished run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_units_that_were_changed_since_are_refused(
    finished: Finished, place: Path, tmp_path: Path, capsys: Capture
) -> None:
    """As many units as before, but others: the mask that was measured is in the cache."""
    moved = moved_to(tmp_path / "root", finished)
    units = UnitMap.load(moved.folder / "unitmap")
    classes = units.classes.copy()
    scu, cu = (np.flatnonzero(classes == number)[0] for number in (UnitClass.SCU, UnitClass.CU))
    classes[[scu, cu]] = classes[[cu, scu]]
    replace(units, classes=classes).save(moved.folder / "unitmap")
    assert export(moved, place, "SCU/pooled", tmp_path / "out") == 2
    assert "do not give what was ablated in 'SCU/pooled'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
