"""Arms that start from a model with an adapter beside its weights are held to the same rules."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssah_exp.config.schema import ArmConfig
from ssah_exp.errors import ModelError, SsahError, UnitError
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.arm_plans import check_plans
from ssah_exp.pipeline.stages.making import save_model
from ssah_exp.pipeline.training_arms import TrainingArm
from tests.pipeline.tiny_run import of_class
from tests.tiny import tiny_loaded
from tests.training.adapting import MODEL

pytest.importorskip("peft")

LOADED = tiny_loaded("llama_gqa")
HALF = np.arange(read_anatomy(LOADED.model).units) % 2 == 0
ADAPTERS = "ssah_exp.training.adapters"
FULL = TrainingArm("full", "full", ArmConfig())
AFTER_FULL = ArmConfig("freeze", of_class("SCU"), first="full")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A model with a learned prefix, as an arm leaves it."""
    folder = tmp_path_factory.mktemp("prefixed")
    loaded = tiny_loaded("llama_gqa")
    LearnedPrefix.new(loaded.model, 3)
    save_model(loaded, folder)
    return ModelRef("prefixed", "0", str(folder), "p" * 64)


def check(start: ModelRef, *arms: TrainingArm) -> None:
    stages: Any = SimpleNamespace(config=SimpleNamespace(model=MODEL))
    check_plans(stages, start, arms)


def adapted(**node: Any) -> TrainingArm:
    return TrainingArm("odd", "odd", ArmConfig(adapter=node))


def test_what_fits_a_model_with_an_adapter_is_let_pass(start: ModelRef) -> None:
    lora = adapted(_target_=f"{ADAPTERS}.lora.Lora", rank=2, alpha=4)
    check(
        start, FULL, TrainingArm("part", "part", ArmConfig("freeze", of_class("SCU")), HALF), lora
    )


@pytest.mark.parametrize(
    ("arm", "error", "message"),
    [
        (
            TrainingArm("odd", "odd", AFTER_FULL, HALF),
            UnitError,
            r"odd\.first=full: full would train what odd keeps frozen",
        ),
        (
            adapted(_target_=f"{ADAPTERS}.lora.Lora", rank=2, alpha=4, targets=["no_proj"]),
            ModelError,
            r"odd: The model has no projection 'no_proj'",
        ),
        (
            adapted(_target_=f"{ADAPTERS}.prefix.Prefix", tokens=3),
            ModelError,
            r"odd\.adapter: Prefix stays beside the weights.* one at a time",
        ),
    ],
)
def test_what_does_not_is_refused_before_anything_is_trained(
    start: ModelRef, arm: TrainingArm, error: type[SsahError], message: str
) -> None:
    with pytest.raises(error, match=rf"^training\.arms\.{message}"):
        check(start, FULL, arm)


def test_an_adapter_is_let_pass_where_the_start_has_none(tmp_path: Path) -> None:
    save_model(LOADED, tmp_path)
    plain = ModelRef("plain", "0", str(tmp_path), "q" * 64)
    check(plain, adapted(_target_=f"{ADAPTERS}.prefix.Prefix", tokens=3))
