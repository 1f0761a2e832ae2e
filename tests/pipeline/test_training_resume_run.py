"""Trainings of a table that break off, and trainings that stop at another one's loss."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.config.schema import ArmConfig, RunConfig
from ssah_exp.pipeline.opened import Finished
from ssah_exp.records.store import RecordStore
from ssah_exp.training import loop, matching
from ssah_exp.training.module import FineTuning
from ssah_exp.training.resume import CHECKPOINT
from tests.pipeline.tiny_run import computed, of_class, run, training_config
from tests.pipeline.trained import arm_of, entry_of, training_of

ALIGN, FULL = 4, 3  # steps of the alignment and of one epoch of fine-tuning


class BrokenError(Exception):
    """What ends a run in these tests."""


def breaking_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, but its ``call``-th call raises; ``.calls`` counts."""

    def counted(*arguments: Any, **named: Any) -> Any:
        counted.calls += 1  # type: ignore[attr-defined]
        if counted.calls == call:  # type: ignore[attr-defined]
            raise BrokenError
        return function(*arguments, **named)

    counted.calls = 0  # type: ignore[attr-defined]
    return counted


def config_in(place: Path, root: str, minutes: float | None = 0.0) -> RunConfig:
    """``quick`` may take four epochs to where ``full`` gets in one, and needs fewer."""
    arms = {
        "full": ArmConfig(learning_rate=1e-3),
        "quick": ArmConfig("freeze", of_class("SCU", "CU"), epochs=4, match_loss="full"),
    }
    config = training_config(place, arms, root)
    config.training.check_every = 2
    config.trainer.checkpoint_minutes = minutes
    return config


@pytest.fixture(scope="module")
def whole(place: Path) -> Finished:
    return run(config_in(place, "whole", None))


def test_an_arm_stops_where_it_reaches_the_loss_to_match(whole: Finished) -> None:
    full, quick = training_of(whole, "full"), training_of(whole, "quick")
    assert quick["train_loss"] <= full["train_loss"]
    assert 0 < quick["steps"] < 4 * FULL
    assert quick["steps"] % 2 == 0, "it looks every two steps"
    assert quick["epochs"] == quick["steps"] / FULL < 4
    assert arm_of(whole, "quick").metrics["epochs"].value == quick["epochs"]


def test_an_arm_that_never_reaches_it_runs_to_its_cap(place: Path) -> None:
    arms = {
        "full": ArmConfig(),
        "slow": ArmConfig(epochs=2, learning_rate=1e-6, match_loss="full"),
    }
    done = run(training_config(place, arms, "whole"))
    assert training_of(done, "slow")["epochs"] == 2
    assert training_of(done, "slow")["train_loss"] > training_of(done, "full")["train_loss"]


def broken_off(place: Path, root: str, patched: pytest.MonkeyPatch, call: int) -> None:
    """Run until the ``call``-th training step, which raises."""
    with patched.context() as patch:
        step = breaking_at(call, FineTuning.training_step)
        patch.setattr(FineTuning, "training_step", step)
        with pytest.raises(BrokenError):
            run(config_in(place, root))
    assert RecordStore(place / root).artefacts() == []
    assert list((place / root / "cache").rglob(".work-*")) == []


def gone_on(place: Path, root: str, patched: pytest.MonkeyPatch) -> tuple[Finished, int]:
    """Run to the end; how many training steps that took."""
    with patched.context() as patch:
        step = breaking_at(0, FineTuning.training_step)
        patch.setattr(FineTuning, "training_step", step)
        done = run(config_in(place, root))
    assert list((place / root / "cache").rglob(".partial-*")) == []
    return done, step.calls  # type: ignore[attr-defined]


def same(one: Finished, other: Finished) -> bool:
    """The same record, but for when and how it was made."""
    fields = ("run_id", "models", "training", "classes", "arms", "calibration", "inputs")
    return all(getattr(one.record, name) == getattr(other.record, name) for name in fields)


def untrained(whole: Finished, place: Path, root: str) -> None:
    """A root in which all is done but fine-tuning: what follows is found for equal weights only."""
    shutil.copytree(
        place / "whole" / "cache", place / root / "cache", ignore=shutil.ignore_patterns("tune")
    )


def test_a_run_that_broke_off_amid_its_alignment_goes_on_with_an_equal_record(
    whole: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty root: every stage is shown to repeat exactly."""
    broken_off(place, "broken", monkeypatch, ALIGN - 1)
    (partial,) = (place / "broken" / "cache" / "align").glob(".partial-*")
    assert (partial / CHECKPOINT).is_file()
    done, steps = gone_on(place, "broken", monkeypatch)
    assert steps == 2 + FULL + training_of(whole, "quick")["steps"]
    assert same(done, whole)


@pytest.mark.parametrize("at", [FULL, FULL + 2], ids=["full", "quick"])
def test_a_run_that_broke_off_amid_an_arm_goes_on_with_an_equal_record(
    whole: Finished, place: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    root = f"broken-{at}"
    untrained(whole, place, root)
    broken_off(place, root, monkeypatch, at)
    (partial,) = (place / root / "cache" / "tune").glob(".partial-*")
    assert (partial / CHECKPOINT).is_file()
    done, steps = gone_on(place, root, monkeypatch)
    every = FULL + training_of(whole, "quick")["steps"]
    assert steps == every - (at - 1), "steps before the break are not done again"
    assert same(done, whole)
    assert {name for name in computed(done) if "train" not in name} == set()


def test_a_run_killed_behind_the_step_that_matched_does_not_train_on(
    whole: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint of that very step is there; training from it would go past the match."""
    untrained(whole, place, "matched")
    with monkeypatch.context() as patch:
        summarise = breaking_at(2, loop._summary)  # full, quick
        patch.setattr(loop, "_summary", summarise)
        with pytest.raises(BrokenError):
            run(config_in(place, "matched"))
    done, steps = gone_on(place, "matched", monkeypatch)
    assert steps == 0
    assert same(done, whole)


def test_a_run_killed_while_it_looks_at_the_loss_looks_again(
    whole: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = training_of(whole, "quick")["steps"] // 2
    untrained(whole, place, "looking")
    with monkeypatch.context() as patch:
        look = breaking_at(looks, matching.mean_response_loss)
        patch.setattr(matching, "mean_response_loss", look)
        with pytest.raises(BrokenError):
            run(config_in(place, "looking"))
    done, steps = gone_on(place, "looking", monkeypatch)
    assert 0 < steps <= 2
    assert same(done, whole)


def test_a_damaged_training_is_done_again_and_the_rest_is_found(
    whole: Finished, place: Path
) -> None:
    """Equal weights are equal entries: answers from them need not be asked for again."""
    path = entry_of(whole, "train full") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"model\.safetensors has another checksum"):
        again = run(config_in(place, "whole", None))
    assert computed(again) == ["train full"]
    assert again.record.arms == whole.record.arms
