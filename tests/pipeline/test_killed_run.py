"""Whole runs whose process a signal ends amid an arm: bfloat16, DPO, accumulation, recomputing."""

from __future__ import annotations

import shutil
import signal
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ssah_exp.config.schema import ArmConfig, RunConfig
from ssah_exp.digest import digest_folder
from ssah_exp.pipeline.opened import Finished
from ssah_exp.training.module import FineTuning
from tests.pipeline.tiny_run import of_class, run, training_config
from tests.pipeline.trained import entry_of, training_of
from tests.training.resuming import Worker

BATCHES, STEP = 6, 2  # eight pairs in batches of four, three times


def config_in(place: Path, root: str, minutes: float | None = None) -> RunConfig:
    arms = {"budget": ArmConfig("budget", of_class("UCU", "CU"))}
    config = training_config(place, arms, root)
    config.model.precision, config.trainer.checkpoint_minutes = "bfloat16", minutes
    training = config.training
    training.data, training.objective, training.epochs = "alignment", "dpo", 3
    training.accumulate, training.gradient_checkpointing = STEP, True
    return config


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> Finished:
    return run(config_in(place, "undisturbed"))


def hashes(finished: Finished) -> dict[str, str]:
    """Of every file of the trained arm but the one that says how long something took."""
    found = digest_folder(entry_of(finished, "train budget"))
    del found["cost.json"]
    assert {"model.safetensors", "certificate.json"} <= found.keys()
    return found


@pytest.mark.parametrize(
    ("number", "code", "minutes", "saved"),
    [
        (signal.SIGKILL, -9, 0.0, STEP),
        pytest.param(signal.SIGTERM, 143, None, 2 * STEP, marks=pytest.mark.slow),
    ],
    ids=["SIGKILL", "SIGTERM"],
)
def test_the_same_run_goes_on_and_ends_with_the_same_files(
    undisturbed: Finished,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    minutes: float | None,
    saved: int,
) -> None:
    """The killed process held the stage's lock, too."""
    config = config_in(place, f"killed-{code}", minutes)
    cache = Path(config.paths.root) / "cache"
    done_before = shutil.ignore_patterns("tune")  # other tests break off what comes before
    shutil.copytree(place / "undisturbed" / "cache", cache, ignore=done_before)
    with closing(Worker(partial(run, config))) as process:
        process.until(STEP + 1)
        assert process.end(number) == code
    steps: list[int] = []
    step = FineTuning.training_step
    monkeypatch.setattr(FineTuning, "training_step", lambda *given: steps.append(1) or step(*given))
    found = run(config)
    assert len(steps) == BATCHES - saved
    assert training_of(found, "budget") == training_of(undisturbed, "budget")
    assert found.record.arms == undisturbed.record.arms
    assert hashes(found) == hashes(undisturbed)
    assert list(cache.rglob(".partial-*")) == []
