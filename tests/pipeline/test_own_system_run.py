"""Requests that bring their own system message: it is put wherever they are asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.cache import MARKER
from ssah_exp.config.artefacts import PROBE
from ssah_exp.config.schema import AttackConfig, ControlsConfig, RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.evaluation.questions import Prompt, fingerprint_prompts, read_completions
from ssah_exp.pipeline import atlas
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.probe import probe_inputs
from ssah_exp.pipeline.reopening import reopen
from ssah_exp.pipeline.stages.answering import AnsweringStages
from tests.pipeline.test_atlas_run import AllRefusals
from tests.pipeline.test_attacks_run import gcg, method
from tests.pipeline.test_reopening import overrides
from tests.pipeline.tiny_run import run, silent, tiny_config
from tests.pipeline.trained import entry_of
from tests.tiny import tiny_speech

OWN, RUNS = "w40 w41", "w50 w51"


def conversations(place: Path) -> list[tuple[str, str | None]]:
    """Requests of the tiny run, every other one behind a system message, and saved like that."""
    with (place / "data" / "harmful_eval.csv").open(encoding="utf-8") as stream:
        prompts = [row["q"] for row in csv.DictReader(stream)]
    asked = [(prompt, OWN if number % 2 else None) for number, prompt in enumerate(prompts)]
    content = [
        [
            *([{"role": "system", "content": system}] if system else []),
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": "w1"},
        ]
        for prompt, system in asked
    ]
    (place / "told.json").write_text(json.dumps(content), encoding="utf-8")
    return asked


def told_config(place: Path) -> RunConfig:
    config = tiny_config(place, "told")
    config.ablation.classes, config.ablation.controls = [], ControlsConfig(of=[])
    config.ablation.fills_of = []
    config.data.harmful_eval = {
        "_target_": "ssah_exp.data.conversations.ConversationSource",
        "path": str(place / "told.json"),
    }
    config.evaluation.attacks = {
        "prefill": AttackConfig(method("Prefill", text="w1"), ["chat"]),
        "gcg": AttackConfig(gcg(), ["raw"], 3),
    }
    validate(config)
    return config


def rendered(prompt: str, style: str, system: str | None) -> tuple[int, ...]:
    """Token ids, from the definition of the styles."""
    system = system or (RUNS if style.endswith("_system") else None)
    if style.startswith("raw"):
        text = prompt if system is None else f"<<SYS>> {system} <</SYS>> {prompt}"
        return tuple(tiny_speech().tokenizer(text).input_ids)
    told = "" if system is None else f"<|system|> {system} <|end|>"
    text = f"<s>{told}<|user|> {prompt} <|end|><|assistant|>"
    return tuple(tiny_speech().tokenizer(text, add_special_tokens=False).input_ids)


@pytest.fixture(scope="module")
def asked(place: Path) -> list[tuple[str, str | None]]:
    return conversations(place)


@pytest.fixture(scope="module")
def told(place: Path, asked: list[tuple[str, str | None]]) -> Finished:
    return run(told_config(place))


def prompts_of(done: Finished, stage: str) -> str:
    """Fingerprint of what was put to the model."""
    material = json.loads((entry_of(done, stage) / MARKER).read_text(encoding="utf-8"))["key"]
    return str(material["prompts"])


def test_every_style_puts_it(told: Finished, asked: list[tuple[str, str | None]]) -> None:
    completions = read_completions(told.folder / "completions" / "aligned.jsonl")
    plain = [item.question for item in completions if item.question.attempt is None]
    harmful = [item for item in plain if item.set == "harmful"]
    assert [(item.prompt, item.system) for item in harmful] == asked * 2, "two styles"
    expected = [
        Prompt(rendered(item.prompt, item.style, item.system), item.style) for item in plain
    ]
    assert prompts_of(told, "answers aligned") == fingerprint_prompts(expected)


def test_so_does_every_attack(told: Finished, asked: list[tuple[str, str | None]]) -> None:
    completions = read_completions(told.folder / "completions" / "aligned.jsonl")
    for attack, style, count in (("prefill", "chat", 5), ("gcg", "raw", 3)):
        found = [
            item.question for item in completions if item.question.style == f"{style}+{attack}"
        ]
        assert len(found) == count
        assert {(item.prompt, item.system) for item in found} <= set(asked)
        assert {item.system for item in found} == {None, OWN}
        given = tuple(tiny_speech().tokenizer("w1", add_special_tokens=False).input_ids)
        given = given if attack == "prefill" else ()
        expected = [
            Prompt((*rendered(str(item.put), style, item.system), *given), "", len(given))
            for item in found
        ]
        assert prompts_of(told, f"answers {attack} aligned") == fingerprint_prompts(expected)


def test_a_search_measures_it(told: Finished) -> None:
    """Its key names it; of requests without one, it is what it always was."""
    entry = entry_of(told, "attack gcg aligned")
    requests = json.loads((entry / MARKER).read_text(encoding="utf-8"))["key"]["requests"]
    assert [item.get("system") for item in requests] == [None, OWN, OWN]
    assert requests[0].keys() == {"prompt", "style"}


def test_so_does_the_probe(place: Path, asked: list[tuple[str, str | None]]) -> None:
    config = told_config(place)
    config.artefact, config.evaluation.attacks = PROBE, {}
    config.probe.benign, config.probe.malicious = ["w3"], ["w7"]
    _, stages = open_run(config, silent()).prepare()
    expected = [rendered(prompt, config.probe.style, system) for prompt, system in asked]
    assert probe_inputs(stages).prompts == expected


def test_so_does_an_atlas_that_asks_for_refusals(
    finished: Finished,
    place: Path,
    asked: list[tuple[str, str | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = reopen(finished.folder, overrides(place)[1::2], silent())
    ref = opened.identified_model()
    stages = opened.stages(ref)
    put: list[Prompt] = []
    real = AnsweringStages.answers

    def answers(self: AnsweringStages, *given: Any) -> Any:
        put.extend(given[3])
        return real(self, *given)

    monkeypatch.setattr(AnsweringStages, "answers", answers)
    calibrations = atlas._Calibrations(opened, stages, ref)
    monkeypatch.setattr(calibrations, "_judge", AllRefusals)
    requests = open_run(told_config(place), silent()).data.harmful_eval
    kept = calibrations._refused(requests, "here", None)
    assert [(item.prompt, item.system) for item in kept] == asked
    assert [item.ids for item in put] == [
        rendered(prompt, "chat", system) for prompt, system in asked
    ]
