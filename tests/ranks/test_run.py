"""A whole run in two processes: the same record as in one, written once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.schema import ArmConfig, AttackConfig, RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.pipeline.dispatch import run
from tests.pipeline import tiny_run
from tests.pipeline.test_attacks_run import gcg


def place_with_inputs(place: Path) -> Path:
    tiny_run.save_model(place / "model")
    tiny_run.save_data(place / "data")
    return place


def config_in(place: Path, processes: int, strategy: str = "auto") -> RunConfig:
    arms = {
        "full": ArmConfig(),
        "few": ArmConfig(policy="budget", select=tiny_run.of_class("CU"), epochs=1),
    }
    config = tiny_run.training_config(place, arms, root=f"root-{processes}-{strategy}")
    # Searched by rank 0 alone, answered by all.
    config.evaluation.attacks = {"gcg": AttackConfig(gcg(), ["chat_system"], 1)}
    config.trainer.devices, config.trainer.strategy = processes, strategy
    validate(config)
    return config


def record_of(config: RunConfig) -> dict[str, Any]:
    (folder,) = Path(config.paths.root).glob("runs/*/*")
    return record_in(folder)


def record_in(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return content


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return place_with_inputs(tmp_path_factory.mktemp("runs"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_write_the_record_of_one(
    place: Path,
    strategy: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    single, double = config_in(place, 1), config_in(place, 2, strategy)
    run(single)
    alone = capfd.readouterr()
    waited = run(double)  # this process computed nothing
    printed = capfd.readouterr()
    lines = [item.out.count("| full") for item in (alone, printed)]
    assert lines[0] == lines[1] > 0, "printed once"
    one, two = record_of(single), record_of(double)
    assert json.loads(waited.record.to_json()) == two
    assert record_in(waited.folder) == two
    assert waited.fresh
    for key in ("run_id", "config", "inputs", "classes", "calibration", "data"):
        assert one[key] == two[key], key
    assert one["provenance"]["hardware"]["processes"] == 1
    assert two["provenance"]["hardware"]["processes"] == 2
    assert [arm["name"] for arm in one["arms"]] == [arm["name"] for arm in two["arms"]]
    for mine, theirs in zip(one["arms"], two["arms"], strict=True):
        assert mine["metrics"].keys() == theirs["metrics"].keys()
        for name in ("train_loss", "perplexity"):
            if name in mine["metrics"]:
                wanted, found = (arm["metrics"][name]["value"] for arm in (mine, theirs))
                assert found == pytest.approx(wanted, rel=1e-2), (mine["name"], name)
        if mine["training"] is not None:
            for key in ("frozen_weights", "changeable_weights"):
                proof = (arm["training"]["certificate"][key] for arm in (mine, theirs))
                assert len(set(proof)) == 1
    leftovers = [path.name for path in Path(double.paths.root).rglob(".*")]
    assert not leftovers, "no work folder and no checkpoint is left"
