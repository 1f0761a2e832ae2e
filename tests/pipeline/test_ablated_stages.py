"""Whatever is measured of an arm is measured while the arm's ablation is in place."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks import Attack, Attempt, Request, Victim
from ssah_exp.evaluation.attacks.prefill import Prefill
from ssah_exp.interventions.ablate import Ablation, plan_ablation
from ssah_exp.pipeline.stages import Stages, answering, benchmarks
from tests import tiny
from tests.config.composing import config_of
from tests.interventions.test_ablate import fills_of, some_units
from tests.pipeline.computing import Computing
from tests.pipeline.test_stage_keys import CONVERSATIONS, MODEL, REQUESTS, STAGES
from tests.pipeline.tiny_run import silent

LOADED = tiny.tiny_loaded()
ABLATION = plan_ablation(
    some_units(LOADED.anatomy), LOADED.anatomy, fills_of(LOADED.anatomy, "zero")
)


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many the model carries whenever it is measured."""
    seen: list[int] = []

    def measuring(found: Any) -> Callable[..., Any]:
        def watched(*_: Any) -> Any:
            seen.append(tiny.pre_hooks(LOADED.model))
            return found

        return watched

    monkeypatch.setattr(benchmarks, "read_conversations", lambda *_: CONVERSATIONS)
    monkeypatch.setattr(benchmarks, "harness_version", lambda: "0")
    monkeypatch.setattr(answering, "reachable_positions", lambda *_: None)  # no folder to read
    monkeypatch.setattr(answering, "generate", measuring(["w1"]))
    monkeypatch.setattr(answering, "search", measuring({}))
    monkeypatch.setattr(benchmarks, "window_losses", measuring([2.0]))
    monkeypatch.setattr(benchmarks, "hold", measuring([]))
    outcomes = SimpleNamespace(save=lambda folder: None)
    harness = SimpleNamespace(evaluate=measuring(outcomes))  # the real one takes seconds to import
    monkeypatch.setitem(sys.modules, "ssah_exp.evaluation.utility.harness", harness)
    return seen


@pytest.mark.parametrize("what", [ABLATION, None], ids=["ablated", "dense"])
@pytest.mark.parametrize("stage", ["answers", "attempts", "losses", "mt_bench", "utility"])
def test_an_arm_is_measured_with_what_is_ablated_in_it(
    hooks: list[int], tmp_path: Path, stage: str, what: Ablation | None
) -> None:
    data: Any = SimpleNamespace(text="w1 " * 40, fingerprints={"text": "0"})
    slot: Any = SimpleNamespace(get=lambda _: LOADED)
    text = "evaluation.perplexity"  # no first token: there is no model whose config asks for it
    config, cache = config_of(f"{text}.window=16", f"+{text}.bos=false"), Computing(tmp_path)
    stages = Stages(config, data, cache, silent(), slot, LOADED.speech)  # type: ignore[arg-type]
    if stage == "utility":
        stages.utility("boolq", MODEL, what, "arm")
    else:
        STAGES[stage](stages, MODEL, what)
    (seen,) = hooks
    assert (seen > 0) == (what is not None)
    assert tiny.pre_hooks(LOADED.model) == 0


@dataclass(kw_only=True)
class Peeping(Attack):
    """Says that it needs no model, and looks at one."""

    SEARCHES: ClassVar[bool] = False

    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        return [Attempt(victim.answers([request.prompt], request)[0])]


def test_an_attack_that_looks_at_no_model_loads_none(tmp_path: Path) -> None:
    """A model too large for one card was put whole on rank 0's, for what a tokenizer decides."""
    slot: Any = SimpleNamespace(get=lambda ref: pytest.fail("loaded"))
    data: Any = SimpleNamespace(fingerprints={})

    def made(attack: Attack) -> Any:
        place = tmp_path / attack.name
        place.mkdir()
        stages = Stages(config_of(), data, Computing(place), silent(), slot, LOADED.speech)  # type: ignore[arg-type]
        stages.attempts(MODEL, None, attack, REQUESTS, "arm")
        return json.loads((place / "attempts.json").read_text(encoding="utf-8"))

    ((attempt,),) = made(Prefill(name="begun", text="w1"))
    assert attempt["prefill"] == "w1"
    with pytest.raises(ConfigError, match=r"'peeping' looks at the model, and its class says"):
        made(Peeping(name="peeping"))
