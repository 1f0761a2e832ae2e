"""What the expensive stages are kept under: all that decides them and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssah_exp.data.sources import Example
from ssah_exp.evaluation.attacks import Request
from ssah_exp.evaluation.attacks.gcg import Gcg
from ssah_exp.evaluation.attacks.prefill import Prefill
from ssah_exp.evaluation.mt_bench.conversations import Conversation
from ssah_exp.evaluation.questions import Prompt, Question
from ssah_exp.interventions.ablate import Ablation
from ssah_exp.models.sources import ModelRef
from ssah_exp.models.tokenizer import Speech
from ssah_exp.pipeline.identification import unit_map_of
from ssah_exp.pipeline.probe import ProbeInputs, _distances, _separability
from ssah_exp.pipeline.stages import Stages, answering, benchmarks
from ssah_exp.units.scoring import ScoringSettings, Snip
from ssah_exp.units.unitmap import ScoreProvenance
from tests import tiny
from tests.config.composing import config_of, put
from tests.pipeline.tiny_run import silent

MODEL = ModelRef("model", "0", "place", "f" * 64)
EXAMPLES = (Example("w1", "w2"), Example("w3", "w4"))
SETS = ("alignment", "safety_calibration", "utility_calibration", "text")
QUESTIONS = [Question("harmful", "raw", "w1", None)]
PROMPTS = [Prompt((9, 10), "raw")]
CONVERSATIONS = [Conversation(at, "writing", (f"w{at}", "w1")) for at in range(2)]
REQUESTS = [Request("w1", "raw_system")]
SEARCH = Gcg(name="gcg", target="w1", initial="w2", steps=1, candidates=1, top_k=1)
PROBED = ProbeInputs(["w1"], [(9,)], {"benign": [(10,)]}, [])
SPEECH = tiny.tiny_speech()


def ablation(unit: int) -> Ablation:
    masks = {kind: torch.arange(6).reshape(2, 3) == unit for kind in ("attention", "mlp")}
    return Ablation(masks, {kind: torch.zeros(2, 3) for kind in masks})  # type: ignore[arg-type]


class AskedError(Exception):
    """Holds what a stage asks the cache for."""


class Asking:
    """A cache that is asked once."""

    def partial(self, stage: str, material: Mapping[str, Any]) -> Path:
        return Path(stage)

    def get_or_compute(self, stage: str, material: Mapping[str, Any], *_: Any, **__: Any) -> None:
        raise AskedError(dict(material))


# Of each stage: how it is asked.
STAGES: dict[str, Callable[[Stages, ModelRef, Ablation | None], object]] = {
    "align": lambda stages, ref, _: stages.align(ref),
    "statistics": lambda stages, ref, _: stages.statistics(ref),
    "scores": lambda stages, ref, _: stages.scores(ref, Snip()),
    "answers": lambda stages, ref, what: stages.answers(ref, what, QUESTIONS, PROMPTS, "arm"),
    "losses": lambda stages, ref, what: stages.losses(ref, what, "arm"),
    "mt_bench": lambda stages, ref, what: stages.mt_bench(ref, what, "arm"),
    "attempts": lambda stages, ref, what: stages.attempts(ref, what, SEARCH, REQUESTS, "arm"),
    "probe": lambda stages, ref, _: _distances("model", ref, PROBED, stages),
    "separability": lambda stages, ref, _: _separability("model", ref, PROBED, stages),
}
TEMPLATED = ("align", "statistics", "scores", "mt_bench", "attempts")
ABLATED = ("answers", "losses", "mt_bench", "attempts")


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """MT-bench's questions lie in no file here, nor does the model's config."""
    monkeypatch.setattr(benchmarks, "read_conversations", lambda path, limit: CONVERSATIONS[:limit])
    is_of(monkeypatch, "llama")


def is_of(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """What the model's config says."""
    monkeypatch.setattr(benchmarks, "load_config", lambda *_: tiny.FAMILIES[family]())


def key_of(
    stage: str,
    name: str = "units.min_samples",
    value: Any = 2,
    *,
    ref: ModelRef = MODEL,
    what: Ablation | None = None,
    speech: Speech = SPEECH,
    **fingerprints: str,
) -> dict[str, Any]:
    """With one option set, by its dotted name."""
    config = config_of("evaluation.perplexity.window=16", "units.min_samples=2")
    put(config, name, value)
    sets = dict.fromkeys(SETS, EXAMPLES)
    data: Any = SimpleNamespace(
        fingerprints={**dict.fromkeys(SETS, "as ever"), **fingerprints},
        example_sets=sets,
        alignment=EXAMPLES,
    )
    cache, slot = Asking(), None
    stages = Stages(config, data, cache, silent(), slot, speech)  # type: ignore[arg-type]
    with pytest.raises(AskedError) as asked:
        STAGES[stage](stages, ref, what)
    material: dict[str, Any] = asked.value.args[0]
    return material


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [
        ("align", "alignment.epochs", 7),
        ("align", "alignment.batch_size", 7),
        ("align", "alignment.learning_rate", 0.5),
        ("align", "alignment.weight_decay", 0.5),
        ("align", "alignment.warmup_share", 0.5),
        ("align", "alignment.gradient_clip", 0.5),
        ("align", "alignment.max_length", 77),
        ("align", "alignment.prompt_styles", ["raw"]),
        ("align", "seed", 7),
        ("statistics", "units.tokens", "all"),
        ("statistics", "units.max_length", 77),
        ("statistics", "units.prompt_style", "raw"),
        ("answers", "evaluation.max_new_tokens", 7),
        ("losses", "evaluation.perplexity.window", 17),
        ("losses", "evaluation.perplexity.max_tokens", 77),
        ("losses", "evaluation.perplexity.bos", True),
        ("mt_bench", "mt_bench.max_new_tokens", 7),
        ("mt_bench", "mt_bench.limit", 1),
        ("attempts", "evaluation.max_new_tokens", 7),
        ("attempts", "evaluation.system_prompt", "w7"),
        ("attempts", "seed", 7),
        ("probe", "probe.steps", [1, 3]),
        ("probe", "probe.distances", ["l2"]),
        ("probe", "probe.continuation", "bare"),
        ("separability", "probe.folds", 7),
        ("separability", "probe.shuffles", 7),
        ("separability", "probe.strength", 0.5),
        ("separability", "seed", 7),
        *((stage, "model.precision", "bfloat16") for stage in STAGES),
    ],
)
def test_options_that_decide_a_stage_are_in_its_key(stage: str, name: str, value: Any) -> None:
    assert key_of(stage) == key_of(stage) != key_of(stage, name, value)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("align", "alignment"),
        ("statistics", "safety_calibration"),
        ("statistics", "utility_calibration"),
        ("losses", "text"),
    ],
)
def test_data_that_decide_a_stage_are_in_its_key(stage: str, name: str) -> None:
    assert key_of(stage) != key_of(stage, **{name: "others"})


@pytest.mark.parametrize("stage", STAGES)
def test_the_model_and_what_is_done_to_it_are_in_every_key(stage: str) -> None:
    assert key_of(stage) == key_of(stage, ref=replace(MODEL, identifier="b", location="elsewhere"))
    assert key_of(stage) != key_of(stage, ref=replace(MODEL, fingerprint="e" * 64))
    if stage in TEMPLATED:
        assert key_of(stage) != key_of(stage, speech=tiny.other_speech())
    if stage in ABLATED:
        assert key_of(stage) != key_of(stage, what=ablation(1))
        assert key_of(stage, what=ablation(1)) != key_of(stage, what=ablation(2))


def test_what_a_scoring_is_told_is_in_its_key() -> None:
    """All but the batch size, which decides no number: a scoring cannot see anything else."""
    told = {item.name: item.default for item in fields(ScoringSettings)}
    assert told == {"tokens": "response", "batch_size": 8}
    assert key_of("scores") != key_of("scores", "units.tokens", "all")


def test_the_seed_of_a_users_own_attack_is_in_its_key_whether_it_looks_at_the_model_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may draw at random; this package's attacks that look at no model do not."""
    prefill = Prefill(name="prefill", text="w1")
    monkeypatch.setitem(
        STAGES,
        "attempts",
        lambda stages, ref, what: stages.attempts(ref, what, prefill, REQUESTS, "arm"),
    )
    assert key_of("attempts") == key_of("attempts", "seed", 7)
    monkeypatch.setattr(answering, "code_of", lambda attack: {"plugin.mine": "its hash"})
    assert key_of("attempts") != key_of("attempts", "seed", 7)
    assert key_of("attempts") == key_of("attempts", ref=replace(MODEL, fingerprint="e" * 64))


@pytest.mark.parametrize("stage", ["answers", "mt_bench"])
def test_where_answers_end_is_in_their_key(stage: str) -> None:
    assert key_of(stage) != key_of(stage, speech=replace(SPEECH, stop_ids=(5,)))


@pytest.mark.parametrize(("continuation", "same"), [("own", False), ("bare", True)])
def test_inputs_have_the_same_tokens_where_the_bare_request_gives_them(
    continuation: str, same: bool
) -> None:
    assert key_of("probe", "probe.continuation", continuation)["same_tokens"] is same


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [
        ("statistics", "units.statistic", "flap"),
        ("statistics", "units.budgets.scu", 0.02),
        ("statistics", "units.square_attention", False),
        ("statistics", "units.unweighted", True),
        ("statistics", "units.batch_size", 7),
        ("statistics", "seed", 7),
        ("answers", "evaluation.batch_size", 7),
        ("answers", "evaluation.share_prefix", False),
        ("losses", "evaluation.perplexity.batch_size", 7),
        ("mt_bench", "mt_bench.batch_size", 7),
        ("mt_bench", "evaluation.max_new_tokens", 7),
        ("attempts", "evaluation.batch_size", 7),
        ("probe", "evaluation.batch_size", 7),
        ("probe", "probe.smoothing", 7),
        ("separability", "probe.steps", [1, 3]),
        ("align", "trainer.checkpoint_minutes", 7.0),
    ],
)
def test_what_decides_nothing_of_a_stage_is_not(stage: str, name: str, value: Any) -> None:
    assert key_of(stage) == key_of(stage, name, value)


def test_windows_of_a_family_that_needs_its_first_token_are_kept_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, asked = key_of("losses"), key_of("losses", "evaluation.perplexity.bos", True)
    assert "bos" not in plain
    assert asked == {**plain, "bos": SPEECH.tokenizer.bos_token_id}
    is_of(monkeypatch, "gemma3")
    assert key_of("losses") == asked
    assert key_of("losses", "evaluation.perplexity.bos", False) == plain


def test_a_models_config_is_read_once_for_all_that_ablate_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To read it takes longer than to look up an arm's losses."""
    read: list[str] = []

    def load_config(location: str, *_: Any) -> Any:
        read.append(location)
        return tiny.FAMILIES["llama"]()

    monkeypatch.setattr(benchmarks, "load_config", load_config)
    config = config_of("evaluation.perplexity.window=16")
    data: Any = SimpleNamespace(fingerprints={"text": "as ever"})
    stages = Stages(config, data, Asking(), silent(), None, SPEECH)  # type: ignore[arg-type]
    other = replace(MODEL, location="elsewhere", fingerprint="e" * 64)
    for ref, what in ((MODEL, None), (MODEL, ablation(0)), (other, None), (MODEL, ablation(1))):
        with pytest.raises(AskedError):
            stages.losses(ref, what, "arm")
    assert read == ["place", "elsewhere"]


def test_a_map_names_the_system_prompt_that_its_scores_were_made_behind() -> None:
    """Two maps that differ in it alone are not of one calibration."""
    origins: list[ScoreProvenance] = []
    data: Any = SimpleNamespace(fingerprints=dict.fromkeys(SETS, "0"))
    statistics: Any = SimpleNamespace(unit_map=lambda units, origin: origins.append(origin))
    for style in ("chat", "chat_system"):
        config = config_of(f"units.prompt_style={style}", "evaluation.system_prompt=Careful")
        unit_map_of(config, MODEL, data, statistics)
    assert [origin.settings.get("system_prompt") for origin in origins] == [None, "Careful"]
