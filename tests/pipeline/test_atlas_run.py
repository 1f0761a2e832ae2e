"""The atlas of a finished run, and a training table whose arms were followed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssah_exp.cli import main
from ssah_exp.config.schema import ArmConfig, CalibrationConfig, TrackConfig, UnitsConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError, JudgeError
from ssah_exp.pipeline import atlas, dispatch
from ssah_exp.pipeline.opened import Finished
from ssah_exp.pipeline.reopening import reopen
from ssah_exp.units.unitmap import UnitMap
from tests.evaluation.failing_judge import FailingJudge
from tests.pipeline.test_reopening import overrides
from tests.pipeline.tiny_run import (
    SAMPLES,
    computed,
    run,
    silent,
    tiny_config,
    training_config,
)
from tests.pipeline.trained import entry_of, training_of, weights_of

Capture = pytest.CaptureFixture[str]


class AllRefusals:
    """A judge to whom every answer is one."""

    def judge(self, prompts: list[str], texts: list[str]) -> list[object]:
        return [atlas.Verdict.REFUSED] * len(texts)


def settings(place: Path) -> list[str]:
    """Other utility data, other tokens, and the model's own answers to harmful requests."""
    source = "_target_: ssah_exp.data.sources.FileSource"
    given = {
        "words": f"{{{source}, path: {place / 'data' / 'benign_eval.csv'}, prompt: '{{a}}', "
        "response: '{q}'}",
        "asked": f"{{{source}, path: {place / 'data' / 'alignment.csv'}, prompt: '{{q}}'}}",
    }
    overriding = [
        f"+atlas.settings.words={{differs: utility data, utility: {given['words']}}}",
        "+atlas.settings.all={differs: tokens, tokens: all}",
        "+atlas.settings.own={differs: safety data, own_refusals: true, safety: "
        f"{given['asked']}}}",
    ]
    return [part for item in overriding for part in ("--set", item)]


def test_the_atlas_of_a_run(
    finished: Finished,
    place: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(atlas._Calibrations, "_judge", lambda self: AllRefusals())
    out, picture = tmp_path / "consensus", tmp_path / "atlas.svg"
    arguments = ["units", "atlas", str(finished.folder), "--resamples", "6", "--format", "json"]
    more = ["--consensus", str(out), "--figure", str(picture)]
    given = [*arguments, *overrides(place), *settings(place)]
    assert main([*given, *more]) == 0
    shown = json.loads(capsys.readouterr().out)
    names = list(dict.fromkeys(row["setting"] for row in shown["rows"]))
    assert names == ["run", "words", "all", "own", "flap", "random"]
    assert shown["passes"] == 2 + 1 + 2 + 1, "shared sets go through the model once"
    stored = UnitMap.load(finished.folder / "unitmap")
    agreed = UnitMap.load(out)
    agreed.check_model(stored.anatomy, stored.provenance.fingerprint)
    assert int((agreed.classes == 0).sum()) == shown["consensus"]["consensus_units"]
    assert picture.is_file()
    assert main([*given, *more]) == 2, "a consensus is not overwritten"
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "own"), [(5, None), (2, None), (5, 2), (2, 40)])
def test_own_refusals_that_break_off_do_not_end(
    finished: Finished,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: int,
    own: int | None,
) -> None:
    """The model learned to say three words; ``asked`` and ``own`` are limits of answers."""
    run = reopen(finished.folder, overrides(place)[1::2], silent())
    run.config.evaluation.max_new_tokens = asked
    ref = run.identified_model()
    calibrations = atlas._Calibrations(run, run.stages(ref), ref)
    monkeypatch.setattr(calibrations, "_judge", AllRefusals)
    kept = calibrations._refused(run.data.alignment, "here", own)
    assert [item.prompt for item in kept] == [item.prompt for item in run.data.alignment]
    limit, cut = own or asked, {(len(str(item.response).split()), item.cut) for item in kept}
    assert max(cut) == (min(3, limit), limit < 3)
    assert not any(marked for words, marked in cut if words < limit - 1)


def test_own_refusals_are_what_the_judge_calls_so(
    finished: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EverySecond(AllRefusals):
        def judge(self, prompts: list[str], texts: list[str]) -> list[object]:
            said = (atlas.Verdict.REFUSED, atlas.Verdict.COMPLIED)
            return [said[at % 2] for at in range(len(texts))]

    run = reopen(finished.folder, overrides(place)[1::2], silent())
    ref = run.identified_model()
    calibrations = atlas._Calibrations(run, run.stages(ref), ref)
    monkeypatch.setattr(calibrations, "_judge", EverySecond)
    asked = run.data.alignment
    kept = calibrations._refused(asked, "here", None)
    assert [item.prompt for item in kept] == [item.prompt for item in asked[::2]]


def test_a_model_that_refuses_too_little_is_told_how_to_go_on_without(
    finished: Finished, place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoRefusals(AllRefusals):
        def judge(self, prompts: list[str], texts: list[str]) -> list[object]:
            return [atlas.Verdict.COMPLIED] * len(texts)

    monkeypatch.setattr(atlas._Calibrations, "_judge", lambda self: NoRefusals())
    given = ["units", "atlas", str(finished.folder), "--resamples", "2", "--format", "json"]
    given += [*overrides(place), *settings(place)]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "atlas.settings.own.safety: the model refuses 0 of " in said
    assert "To leave it out: --set '~atlas.settings.own'." in said
    assert main([*given, "--set", "~atlas.settings.own"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {"run", "words", "all"} <= {row["setting"] for row in rows}
    assert "own" not in {row["setting"] for row in rows}


Ask = Callable[[atlas._Calibrations], object]


@pytest.mark.parametrize(
    ("ask", "samples", "seed"),
    [
        (lambda made: made.of("a", CalibrationConfig("seed", seed=9)), SAMPLES, 9),
        (lambda made: made.of("a", CalibrationConfig("data", safety={"x": 1}, utility={"x": 1})),
         SAMPLES, 0),
        (lambda made: made.pool(11), 11, 0),
    ],
)  # fmt: skip
def test_sets_are_drawn_as_a_setting_says(
    finished: Finished,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Ask,
    samples: int,
    seed: int,
) -> None:
    drawn: list[tuple[int, int]] = []

    def draw(source: object, where: str, units: UnitsConfig, seed: int) -> tuple[()]:
        drawn.append((units.samples, seed))
        return ()

    monkeypatch.setattr(atlas, "draw_calibration", draw)
    run = reopen(finished.folder, overrides(place)[1::2], silent())
    ref = run.identified_model()
    calibrations = atlas._Calibrations(run, run.stages(ref), ref)
    for name in ("_collected", "_identified"):  # nothing goes through the model
        monkeypatch.setattr(calibrations, name, lambda *_: None)
    ask(calibrations)
    assert drawn == [(samples, seed)] * 2


@pytest.mark.filterwarnings("ignore:Judge 'down' left")
def test_a_judge_that_fails_makes_no_smaller_calibration_set(
    finished: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = reopen(finished.folder, overrides(place)[1::2], silent())
    ref = run.identified_model()
    calibrations = atlas._Calibrations(run, run.stages(ref), ref)
    judge = FailingJudge()
    monkeypatch.setattr(calibrations, "_judge", lambda: judge)
    rows = run.data.alignment
    with pytest.raises(JudgeError, match=f"here: the judge failed on {len(rows)} of {len(rows)}"):
        calibrations._refused(rows, "here", None)
    judge.down = False
    assert len(calibrations._refused(rows, "here", None)) == len(rows)


def test_an_atlas_without_settings_is_refused(
    finished: Finished, place: Path, capsys: Capture
) -> None:
    assert main(["units", "atlas", str(finished.folder), *overrides(place)]) == 2
    assert "atlas has no settings" in capsys.readouterr().err


def test_no_run_reads_an_atlas(place: Path) -> None:
    config = tiny_config(place)
    config.atlas.settings["a"] = CalibrationConfig("tokens", tokens="all")
    with pytest.raises(ConfigError, match="No run reads atlas"):
        dispatch.run(config)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (CalibrationConfig("x"), "changes nothing"),
        (CalibrationConfig("x", tokens="al"), "Did you mean 'all'"),
        (CalibrationConfig("x", seed=-1), "is below 0"),
        (CalibrationConfig("x", tokens="all", own_refusals=True), "own_refusals needs requests"),
        (CalibrationConfig("x", tokens="all", answer_tokens=8), "about the answers of"),
        (CalibrationConfig("x", safety={}, own_refusals=True, answer_tokens=0), "is below 1"),
    ],
)
def test_settings_that_cannot_be(place: Path, setting: CalibrationConfig, message: str) -> None:
    config = tiny_config(place)
    config.atlas.settings["a"] = setting
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_own_refusals_are_long_enough_for_the_judge_that_tells_them(place: Path) -> None:
    config = tiny_config(place)
    config.evaluation.max_new_tokens = 48
    wordy = config.evaluation.judges[config.evaluation.primary_judge]
    config.evaluation.judges = {config.evaluation.primary_judge: {**wordy, "min_words": 20}}
    config.atlas.settings["a"] = CalibrationConfig("x", safety={}, own_refusals=True)
    validate(config)
    config.atlas.settings["a"].answer_tokens = 12
    with pytest.raises(ConfigError, match=r"atlas\.settings\.a\.answer_tokens=12 cuts"):
        validate(config)


def test_following_changes_the_record_and_no_weight(place: Path) -> None:
    arms = {"full": ArmConfig()}
    plain = run(training_config(place, arms, "plain"))
    config = training_config(place, arms, "plain")
    config.training.track = TrackConfig(every=2, examples=3)
    followed = run(config)
    assert followed.record.run_id != plain.record.run_id
    assert "train full" in computed(followed), "an entry without looks does not serve"
    for name, weight in weights_of(plain, "train full").items():
        assert (weight == weights_of(followed, "train full")[name]).all(), name
    looks = training_of(followed, "full")["track"]
    assert [look["step"] for look in looks] == [0, 2, 3]
    units = UnitMap.load(followed.folder / "unitmap").anatomy.units
    assert {int(np.sum(look["units"])) for look in looks} == {units}
    assert "track" not in training_of(plain, "full")
    assert "track" not in plain.record.config["training"]
    config.training.track = TrackConfig(examples=3)
    with pytest.raises(ConfigError, match=r"nothing is tracked unless training\.track\.every says"):
        validate(config)
    config.training.track = TrackConfig(every=2)
    config.trainer.devices = 2
    with pytest.raises(ConfigError, match="model of one process"):
        validate(config)


def test_a_followed_training_done_again_is_the_same_model(place: Path) -> None:
    """What looking and proving took differs; answers of the model need not be asked for again."""
    config = training_config(place, {"full": ArmConfig()}, "again")
    config.training.track = TrackConfig(every=2, examples=3)
    first = run(config)
    cost = cost_of(first)
    assert cost.keys() == {"track_overhead", "certificate_seconds"}
    found = run(config)
    assert computed(found) == []
    assert [item.cost for item in found.stages if item.name == "train full"] == [cost]
    shutil.rmtree(entry_of(first, "train full"))
    again = run(config)
    assert computed(again) == ["train full"]
    assert again.record.arms == first.record.arms
    assert cost_of(again) != cost
    assert "cost.json" not in (entry_of(again, "train full") / "entry.json").read_text()


def cost_of(finished: Finished) -> dict[str, float]:
    (cost,) = [item.cost for item in finished.record.stages if item.name == "train full"]
    return cost


@pytest.mark.parametrize("which", ["safety", "utility"])
def test_a_set_that_holds_what_is_asked_is_named(
    finished: Finished, place: Path, capsys: Capture, which: str
) -> None:
    source = (
        f"{{_target_: ssah_exp.data.sources.FileSource, path: {place / 'data' / 'benign_eval.csv'},"
        " prompt: '{q}', response: '{a}'}"
    )
    setting = f"+atlas.settings.seen={{differs: data, {which}: {source}}}"
    arguments = ["units", "atlas", str(finished.folder), *overrides(place)]
    assert main([*arguments, "--set", setting]) == 2
    assert f"benign_eval and {which}_calibration" in capsys.readouterr().err
