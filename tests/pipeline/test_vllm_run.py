"""A run with vLLM's boundary under it: the same answers, through exported folders."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import RunConfig, VllmConfig
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.evaluation import vllm_engine
from ssah_exp.evaluation.generate import Decoding
from ssah_exp.evaluation.judges.first_token import FirstTokenJudge
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.evaluation.vllm_engine import VllmEngine, check_lengths
from ssah_exp.models.companion import LOADED
from ssah_exp.pipeline.opened import Finished
from tests import tiny
from tests.config.composing import config_of
from tests.evaluation.test_local_judges import GUARD
from tests.evaluation.test_local_judges import save as save_judge
from tests.pipeline.tiny_run import run, tiny_config

ENGINE = "evaluation.engine=vllm"
STAND_IN = Path(__file__).parents[1] / "evaluation" / "stand_in"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in, importable as ``vllm``."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    import vllm

    assert Path(vllm.__file__).parent == STAND_IN
    yield vllm
    del sys.modules["vllm"]


def vllm_config(place: Path, root: str) -> RunConfig:
    """The dense models and one class with both fills, in float32."""
    config = tiny_config(place, root)
    config.evaluation.engine = "vllm"
    config.ablation.classes = ["SCU"]
    config.ablation.controls.of = []
    return config


def test_a_run_by_vllm_answers_as_one_by_transformers(
    finished: Finished, place: Path, vllm: Any
) -> None:
    done = run(vllm_config(place, "vllm"))
    assert done.record.run_id != finished.record.run_id
    by_name = {arm.name: arm for arm in finished.record.arms}
    for arm in done.record.arms:
        ours, theirs = (
            done.folder / arm.completions,
            finished.folder / by_name[arm.name].completions,
        )
        assert ours.read_text() == theirs.read_text(), arm.name
    assert [Path(made.given["model"]).name == "export" for made in vllm.MADE] == [
        False, False, True, True,
    ]  # fmt: skip
    assert list((place / "vllm" / "cache").rglob("export")) == [], "exports are gone"
    for made in vllm.MADE[2:]:  # what a file server holds on to is no part of an entry
        assert Path(made.given["model"]).parent.name.startswith(".partial-")
    keys = {stage.name: stage.key for stage in done.record.stages}
    assert (
        keys["answers aligned"]
        != {s.name: s.key for s in finished.record.stages}["answers aligned"]
    ), "what one engine said is not taken for what the other said"


@pytest.mark.parametrize("trouble", [RuntimeError("no memory"), LookupError("a bug")])
def test_an_export_that_vllm_cannot_load_is_not_left_behind(
    place: Path, vllm: Any, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """It is as large as the model, and nobody may come back for it."""
    root, seen = place / f"left {type(trouble).__name__}", []

    def start() -> None:
        seen.extend((root / "cache").rglob("export"))
        if seen:
            raise trouble

    monkeypatch.setattr(vllm, "STARTING", start)
    with pytest.raises((ModelError, LookupError), match=str(trouble)):
        run(vllm_config(place, root.name))
    assert len(seen) == 1
    assert list((root / "cache").rglob("export")) == []


def test_vllm_gets_whole_batches_and_the_settings(vllm: Any, tmp_path: Path) -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    loaded.model.save_pretrained(tmp_path / "model")
    settings = config_of("model=local", "model.precision=float32").model
    decoding = Decoding(4, 8, share_prefix=True)
    engine = VllmEngine(tmp_path / "model", None, settings, loaded.speech, decoding)
    answers = engine([(8, 9, 10), (11, 12)])
    assert [len(answer) for answer in answers] == [4, 4]
    assert vllm.MADE[-1].asked == [2]
    assert vllm.MADE[-1].given["dtype"] == "float32"
    with pytest.raises(ModelError, match="vLLM cannot load broken: no architecture"):
        VllmEngine("broken", None, settings, loaded.speech, decoding)


@pytest.mark.parametrize("allowed", [True, False])
def test_vllm_gets_the_commit_whose_code_may_run_and_whether_prefixes_are_shared(
    vllm: Any, tmp_path: Path, allowed: bool
) -> None:
    """Another commit's weights, or code that nobody allowed, would answer without a word."""
    loaded = tiny.tiny_loaded("llama_gqa")
    loaded.model.save_pretrained(tmp_path / "model")
    settings = config_of("model=local", "model.precision=float32").model
    settings.trust_remote_code = allowed
    decoding = Decoding(4, 8, share_prefix=not allowed)
    VllmEngine(tmp_path / "model", "c0ffee", settings, loaded.speech, decoding)
    told = {"revision": "c0ffee", "trust_remote_code": allowed, "seed": 0}
    assert vllm.MADE[-1].given.items() >= {**told, "enable_prefix_caching": not allowed}.items()


@pytest.mark.parametrize("error", [ValueError, OSError, RuntimeError])
def test_what_vllm_says_as_it_starts_is_one_line(
    vllm: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """A card without room is a RuntimeError, a missing folder an OSError."""

    def fail() -> None:
        raise error("no room")

    monkeypatch.setattr(vllm, "STARTING", fail)
    settings = config_of("model=local", "model.precision=float32").model
    speech = tiny.tiny_loaded("llama_gqa").speech
    with pytest.raises(ModelError, match="vLLM cannot load some: no room"):
        VllmEngine("some", None, settings, speech, Decoding(4, 8, share_prefix=True))


def test_room_on_the_card_is_passed_on_and_no_part_of_the_run_id(place: Path, vllm: Any) -> None:
    config = vllm_config(place, "room")
    plain = run_id(config, {})
    config.evaluation.vllm = VllmConfig(0.5, 64, 2)
    assert run_id(config, {}) == plain
    run(config)
    room = {"gpu_memory_utilization": 0.5, "max_model_len": 64, "tensor_parallel_size": 2}
    assert all(made.given.items() >= room.items() for made in vllm.MADE)

    config.paths.root = str(place / "short")
    config.evaluation.vllm.max_model_len = 7
    with pytest.raises(ModelError, match="max_model_len=7 is below the"):
        run(config)


@pytest.mark.parametrize("room", [None, 9, 8])
def test_the_longest_prompt_with_its_answer_may_fill_the_room(room: int | None) -> None:
    prompts = [Prompt((1,) * length, "raw") for length in (2, 5, 3)]
    decoding = Decoding(4, 8, share_prefix=True)
    short = room == 8
    with pytest.raises(ModelError, match="below the 9 tokens") if short else nullcontext():
        check_lengths(prompts, decoding, VllmConfig(max_model_len=room))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["evaluation.vllm.tensor_parallel_size=2"], "engine=transformers reads none of it"),
        ([ENGINE, "evaluation.vllm.gpu_memory_utilization=0"], "lies outside (0, 1]"),
        ([ENGINE, "evaluation.vllm.tensor_parallel_size=0"], "tensor_parallel_size=0 is below 1"),
        ([ENGINE, "evaluation.vllm.max_model_len=24"], "max_model_len=24 is below 25"),
    ],
)
def test_room_that_cannot_be_is_refused(given: list[str], expected: str) -> None:
    from ssah_exp.config.validate import validate

    with pytest.raises(ConfigError, match=re.escape(expected)):
        validate(config_of(*given))


def test_a_guard_on_the_card_makes_room_before_vllm_starts(
    place: Path, vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_judge(tmp_path / "guard", GUARD)
    node = config_of("+judge@evaluation.judges.extra=llama_guard3").evaluation.judges["extra"]
    weights = {"_target_": "ssah_exp.models.sources.LocalFolder", "path": str(tmp_path / "guard")}
    config = vllm_config(place, "guarded")
    guard = {**node, "device": "cpu", "precision": "float32", "weights": weights}
    config.evaluation.judges = {**config.evaluation.judges, "guard": guard}
    loaded: list[FirstTokenJudge] = []
    load = FirstTokenJudge.load_companion

    def loading(judge: FirstTokenJudge, who: str) -> Any:
        loaded.append(judge)
        return load(judge, who)

    monkeypatch.setattr(FirstTokenJudge, "load_companion", loading)
    resident: list[bool] = []
    look = lambda: resident.extend(LOADED in vars(judge) for judge in loaded)  # noqa: E731
    monkeypatch.setattr(vllm, "STARTING", look)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a random guard says no verdict
        run(config)
    assert len(loaded) > 1, "it was loaded again for the next arm"
    assert resident
    assert not any(resident)


def test_without_vllm_the_run_ends_before_it_begins(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "vllm" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(vllm_engine.importlib.util, "find_spec", hidden)
    with pytest.raises(ModelError, match="needs vLLM, which is not installed"):
        run(vllm_config(place, "none"))
    assert not (place / "none").exists()


def test_the_default_engine_does_not_enter_the_run_id() -> None:
    assert "engine" not in science(config_of())["evaluation"]
    other = config_of("evaluation.engine=vllm")
    assert science(other)["evaluation"]["engine"] == "vllm"
    assert run_id(other, {}) != run_id(config_of(), {})


def test_an_unknown_engine_is_refused() -> None:
    from ssah_exp.config.validate import validate

    with pytest.raises(ConfigError, match="Did you mean 'vllm'"):
        validate(config_of("evaluation.engine=vlm"))
