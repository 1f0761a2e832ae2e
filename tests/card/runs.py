"""Tiny runs that compute on whichever device there is."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from safetensors.torch import load_file

from ssah_exp.cli import main
from ssah_exp.config.schema import (
    ArmConfig,
    AttackConfig,
    RunConfig,
    Target,
    TrackConfig,
    UtilityConfig,
)
from ssah_exp.pipeline.dispatch import PIPELINES
from ssah_exp.pipeline.opened import Finished
from ssah_exp.training.module import FineTuning
from ssah_exp.units.unitmap import UnitMap
from tests import tiny
from tests.evaluation import test_local_judges as judging
from tests.evaluation.utility.tiny_tasks import save_files
from tests.models.test_placement import device_map
from tests.pipeline.test_adapter_arms_run import LORA, PREFIX, UNIT_LORA
from tests.pipeline.test_atlas_run import settings
from tests.pipeline.test_attacks_run import attacked_config, gcg, method
from tests.pipeline.test_dpo_run import dpo_config
from tests.pipeline.test_killed_run import config_in as checkpointed_config
from tests.pipeline.test_probe_run import probe_config
from tests.pipeline.test_reopening import overrides
from tests.pipeline.test_scoring_run import SNIP
from tests.pipeline.test_training_resume_run import BrokenError, breaking_at
from tests.pipeline.tiny_run import furnish, of_class, silent, tiny_config, training_config

HALVED = "halved"
_ARMS = {
    "full": ArmConfig(),
    "frozen": ArmConfig("freeze", of_class("SCU", "CU")),
    "budget": ArmConfig("budget", of_class("RU")),
    "lora": ArmConfig(adapter=LORA),
    "unit_lora": ArmConfig("budget", of_class("CU"), adapter=UNIT_LORA),
}
_PROMPTS: Target = {
    "_target_": "ssah_exp.training.adapters.llama_adapter.LlamaAdapter",
    "length": 3,
    "layers": 2,
}
_BESIDE = {
    "prefix": ArmConfig(adapter=PREFIX, learning_rate=0.1),
    "prompts": ArmConfig(adapter=_PROMPTS, learning_rate=0.1),
    "twice": ArmConfig(first="prompts"),
}
_STEP = FineTuning.training_step
_THRIFTY = {
    "full": ArmConfig(),
    "frozen": ArmConfig("freeze", of_class("SCU", "CU"), epochs=2, match_loss="full"),
    "budget": ArmConfig("budget", of_class("RU")),
}


def _trained(place: Path) -> RunConfig:
    return training_config(place, _ARMS)


def _attacked(place: Path) -> RunConfig:
    """Every attack on dense and ablated arms, and judges that are models."""
    config = attacked_config(place)
    pair = method("Pair", attacker=_attacker(place), judge=_guard(place), streams=1, rounds=2)
    config.evaluation.attacks["pair"] = AttackConfig(pair, ["chat"])
    for attack in config.evaluation.attacks.values():
        attack.requests = 1
    config.evaluation.mean_with = None
    config.evaluation.judges |= {"guard": _guard(place), "classifier": _classifier(place)}
    return config


def _beside(place: Path) -> RunConfig:
    """Adapters beside the weights, attacked, and weights trained under one."""
    config = training_config(place, _BESIDE)
    config.artefact = "table3_peft"
    config.evaluation.attacks = {"gcg": AttackConfig(gcg(), ["chat"], 1)}
    return config


def _thrifty(place: Path) -> RunConfig:
    """Steps of two batches, activations computed again, a loss to match, units followed."""
    config = training_config(place, _THRIFTY)
    config.training.accumulate, config.training.gradient_checkpointing = 2, True
    config.training.batch_size = 2
    config.training.track = TrackConfig(every=4, examples=3)
    return config


def _halved(place: Path) -> RunConfig:
    """Weights of two bytes, with masters, attacked by their gradients."""
    config = training_config(place, {"full": ArmConfig(), "budget": _ARMS["budget"]})
    config.model.precision = "bfloat16"
    config.evaluation.attacks = {"gcg": AttackConfig(gcg(), ["chat"], 1)}
    return config


def _scored(place: Path) -> RunConfig:
    """Units scored by SNIP, and tasks of the harness if it is installed."""
    config = _few_arms(place)
    config.units.scoring = SNIP
    if find_spec("lm_eval") is not None:
        root = str(save_files(place / "files"))
        config.utility = UtilityConfig(["boolq", "piqa"], limit=5, source="files", root=root)
    return config


def _spread(place: Path) -> RunConfig:
    """A model with blocks on the card, in main memory and on disk, where there is a card."""
    config = _few_arms(place)
    config.alignment.enabled = False
    config.evaluation.attacks = {"gcg": AttackConfig(gcg(), ["chat"], 1)}
    if torch.cuda.is_available():
        offloaded = {"model.layers.1": "cpu", "model.layers.2": "disk"}
        config.model.device_map = {**dict.fromkeys(device_map(), 0), **offloaded}
        config.model.offload_folder = str(place / "offload")
    return config


def _few_arms(place: Path) -> RunConfig:
    """The two dense models, and one class pruned."""
    config = tiny_config(place)
    config.ablation.classes, config.ablation.fills = ["SCU"], ["pooled"]
    config.ablation.fills_of, config.ablation.controls.of = [], []
    return config


def _resumed(place: Path) -> RunConfig:
    """DPO of some units and prompts beside the weights, each broken off and gone on with."""
    for _ in range(2):  # at its fourth batch, after four of the alignment or of the arm before
        with patch.object(FineTuning, "training_step", breaking_at(8, _STEP)):
            try:
                _run(_to_resume(place))
            except BrokenError:
                continue
        raise AssertionError("it was to break off")
    return _to_resume(place)


def _to_resume(place: Path) -> RunConfig:
    config = checkpointed_config(place, "resumed", 0.0)
    config.model.precision, config.training.learning_rate = "float32", 2e-3
    config.training.arms["prompts"] = ArmConfig(adapter=_PROMPTS, learning_rate=0.1)
    return config


def _attacker(place: Path) -> Target:
    """A model that says nothing but wordings."""
    words = tuple(f'{{"prompt": "w{number}"}}' for number in range(tiny.WORDS))
    judging.save(place / "attacker", words, tiny.TEMPLATE)
    return _companion("attacks.partners.LocalPartner", place / "attacker", max_new_tokens=2)


def _guard(place: Path) -> Target:
    judging.save(place / "guard", judging.GUARD)
    return _companion("judges.GuardJudge", place / "guard", name="guard")


def _classifier(place: Path) -> Target:
    judging.save(place / "classifier", judging.CLASSIFIER, None)
    return _companion("judges.HarmBenchJudge", place / "classifier", name="classifier")


def _companion(kind: str, folder: Path, **settings: object) -> Target:
    weights = {"_target_": "ssah_exp.models.sources.LocalFolder", "path": str(folder)}
    target = {"_target_": f"ssah_exp.evaluation.{kind}", "weights": weights}
    return {**target, "precision": "float32", **settings}


RUNS: dict[str, Callable[[Path], RunConfig]] = {
    "pruned": tiny_config,
    "trained": _trained,
    "preferred": dpo_config,
    "attacked": _attacked,
    "beside": _beside,
    "thrifty": _thrifty,
    HALVED: _halved,
    "scored": _scored,
    "spread": _spread,
    "probed": probe_config,
    "resumed": _resumed,
}


def run_of(kind: str, place: Path) -> Finished:
    """A run of one of these kinds, in a folder."""
    torch.set_num_threads(1)
    return _run(RUNS[kind](furnish(place)))


def _run(config: RunConfig) -> Finished:
    config.trainer.accelerator = "auto"
    return PIPELINES[config.artefact](config, silent())


def reopened(place: Path) -> dict[str, Any]:
    """What commands say that take up a finished run again, name by name."""
    torch.set_num_threads(1)
    config = _few_arms(furnish(place))
    config.evaluation.judges["first"]["phrases"] = ["w"]  # in every answer: all are refusals
    run = str(_run(config).folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = [*overrides(place), "--set", "trainer.accelerator=auto"]
    given += ["--set", f"model.device={device}"]
    said = {
        name: _said("units", name, run, *more, "--resamples", "4", *given, "--format", "json")
        for name, more in {"stability": [], "noise": ["base"], "atlas": settings(place)}.items()
    }
    _said("units", "identify", run, "base", str(place / "units"), *given)
    for seconds in ("pass_seconds", "draw_seconds"):
        del said["atlas"][seconds]
    units = UnitMap.load(place / "units")
    said["identify"] = {"safety": units.safety.tolist(), "classes": units.classes.tolist()}
    models = [part for part in given if "data." not in part and part != "--set"]
    models = [part for item in models for part in ("--set", item)]
    _said("export", run, "SCU/pooled", str(place / "out"), *models)
    weights = load_file(place / "out" / "model.safetensors")
    said["export"] = {name: float(item.double().norm()) for name, item in weights.items()}
    (place / "guard.yaml").write_text(yaml.safe_dump(_guard(place)), encoding="utf-8")
    said["judges"] = _said(
        "judges", "run", run, "--judges", str(place / "guard.yaml"), "--format", "json"
    )
    return said


def _said(*arguments: str) -> Any:
    """What a command prints; read, if it is JSON."""
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(list(arguments)) == 0
    return json.loads(out.getvalue()) if "json" in arguments else out.getvalue()
