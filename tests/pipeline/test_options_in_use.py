"""What a stage's key says it was made with is what it was made with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssah_exp.config.schema import RunConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.data.sources import Example
from ssah_exp.pipeline.stages import Stages, benchmarks, making
from ssah_exp.training.loop import Run
from tests import tiny
from tests.config.composing import config_of
from tests.pipeline.computing import Computing
from tests.pipeline.test_stage_keys import MODEL
from tests.pipeline.tiny_run import silent

SPEECH = tiny.tiny_speech()
SAFETY = (Example("w1 w2", "w3 w4 w5 w6 w20 w21 w22"), Example("w7", "w8 w9"))
UTILITY = (Example("w11", "w12 w13"), Example("w14 w15 w16", "w17"), Example("w18", "w19"))


def stages_of(config: RunConfig, folder: Path) -> Stages:
    sets = {"safety_calibration": SAFETY, "utility_calibration": UTILITY}
    data: Any = SimpleNamespace(
        example_sets=sets,
        alignment=SAFETY,
        text=" ".join(f"w{number % tiny.WORDS}" for number in range(100)),
        fingerprints=dict.fromkeys((*sets, "alignment", "text"), "0"),
    )
    slot: Any = SimpleNamespace(get=lambda ref: None, to_train=lambda ref: None, clear=lambda: None)
    cache: Any = Computing(folder)
    return Stages(config, data, cache, silent(), slot, SPEECH)


def raw(prompt: str, answer: str, most: int) -> Encoded:
    """As a raw prompt, word by word; the answer begins a new line, which is no token here."""
    words = SPEECH.tokenizer.convert_tokens_to_ids([*prompt.split(), *answer.split(), "<|end|>"])
    return Encoded(tuple(words[:most]), len(prompt.split()))


def test_each_calibration_set_is_its_own_in_the_style_and_length_asked_for(tmp_path: Path) -> None:
    config = config_of("units.min_samples=2", "units.prompt_style=raw", "units.max_length=5")
    found = stages_of(config, tmp_path).calibration()
    for name, examples in (("safety", SAFETY), ("utility", UTILITY)):
        assert found[name] == [raw(item.prompt, str(item.response), 5) for item in examples]


def test_alignment_learns_the_styles_and_length_of_its_key_in_its_seed_s_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aligned in one order, all seeds of a study would differ in their draws alone."""
    given: list[Any] = []

    def run_of(loaded: object, *arguments: Any) -> Run:
        given.extend(arguments)
        examples, alignment, seed, trainer = arguments
        return Run(list, len(examples), alignment, seed, trainer)

    monkeypatch.setattr(making, "supervised_run", run_of)
    monkeypatch.setattr(making, "fine_tune", lambda *_: (SimpleNamespace(as_dict=dict), None))
    monkeypatch.setattr(making, "save_model", lambda *_: None)
    monkeypatch.setattr(making.ModelRef, "trained", lambda *_: MODEL)
    config = config_of("alignment.prompt_styles=[raw]", "alignment.max_length=8", "seed=3")
    stages_of(config, tmp_path).align(MODEL)
    examples, alignment, seed, _ = given
    assert examples == [raw(item.prompt, str(item.response), 8) for item in SAFETY]
    assert (alignment, seed) == (config.alignment, 3)


def test_perplexity_is_over_as_much_text_as_its_key_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def losses(loaded: object, windows: Any, *_: object) -> list[float]:
        seen.append(tuple(windows.shape))
        return [0.0]

    monkeypatch.setattr(benchmarks, "window_losses", losses)
    text = "evaluation.perplexity"
    options = [f"{text}.window=16", f"{text}.max_tokens=48", f"+{text}.bos=false"]
    stages_of(config_of(*options), tmp_path).losses(MODEL, None, "arm")
    assert seen == [(3, 16)]
