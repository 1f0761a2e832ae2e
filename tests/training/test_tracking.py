"""Classes followed during a training: those of the weights, which do not care."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import BudgetsConfig, TrainerConfig, TuningConfig, UnitsConfig
from ssah_exp.interventions.plan import plan_training
from ssah_exp.lightning import make_trainer
from ssah_exp.models.load import LoadedModel
from ssah_exp.training import loop, tracking
from ssah_exp.training.loop import TrainingSummary, fine_tune, supervised_run
from ssah_exp.training.resume import CHECKPOINT
from ssah_exp.training.tracking import Tracking
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.identify import identify
from ssah_exp.units.snapshot import classes_now
from ssah_exp.units.unitmap import UnitMap
from tests import tiny
from tests.training.resuming import KillAt, KilledError
from tests.units.maps import PROVENANCE

CPU = TrainerConfig(accelerator="cpu", progress=False, checkpoint_minutes=0)
EXAMPLES = tiny.conversations(9)
CALIBRATION = {"safety": tiny.conversations(5, seed=1), "utility": tiny.conversations(4, seed=2)}
UNITS = UnitsConfig(batch_size=3, budgets=BudgetsConfig(scu=0.1, ucu=0.1, ru=0.1))
TRACKING = Tracking(4, CALIBRATION, UNITS)
STEPS = 10  # nine conversations in batches of two, twice


def identified(loaded: LoadedModel) -> UnitMap:
    """What the pipeline's own identification says."""
    return identify(loaded, CALIBRATION, UNITS, CPU).unit_map(UNITS, PROVENANCE)


def train(
    loaded: LoadedModel,
    track: Tracking | None,
    policy: str = "none",
    folder: Path | None = None,
    accumulate: int = 1,
) -> TrainingSummary:
    config = TuningConfig(epochs=2, batch_size=2, learning_rate=1e-2)
    run = replace(
        supervised_run(loaded, EXAMPLES, config, 0, CPU),
        track=track,
        checkpoints=folder,
        accumulate=accumulate,
    )
    chosen = np.zeros(tiny.LAYERS * (tiny.HEADS + tiny.NEURONS), dtype=bool)
    chosen[::3] = True
    plan = plan_training(loaded.model, policy, None if policy == "none" else chosen)
    return fine_tune(loaded, run, plan)[0]


def bits(loaded: LoadedModel) -> dict[str, torch.Tensor]:
    return {
        name: item.detach().view(torch.int16 if item.dtype == torch.bfloat16 else torch.int32)
        for name, item in loaded.model.state_dict().items()
    }


@pytest.mark.parametrize("policy", ["none", "freeze", "budget"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_and_losses_are_the_same_to_the_bit(policy: str, dtype: torch.dtype) -> None:
    ends, losses = [], []
    for track in (None, TRACKING, Tracking(1, CALIBRATION, UNITS)):
        loaded = tiny.tiny_loaded(attention_dropout=0.3, dtype=dtype)
        losses.append(train(loaded, track, policy).losses)
        ends.append(bits(loaded))
        assert tiny.pre_hooks(loaded.model) == 0
    assert losses[0] == losses[1] == losses[2]
    for name, item in ends[0].items():
        assert torch.equal(item, ends[1][name]), name
        assert torch.equal(item, ends[2][name]), name


@pytest.mark.parametrize("policy", ["none", "freeze", "budget"])
def test_it_sees_the_classes_that_identification_finds(policy: str) -> None:
    loaded = tiny.tiny_loaded()
    before = identified(loaded)
    summary = train(loaded, TRACKING, policy)
    after = identified(loaded)
    assert summary.track is not None
    assert [look["step"] for look in summary.track] == [0, 4, 8, STEPS]
    first, *_, last = (np.array(look["units"]) for look in summary.track)
    np.testing.assert_array_equal(first, np.diag(np.bincount(before.classes, minlength=4)))
    plain = [[int(((before.classes == a) & (after.classes == b)).sum()) for b in UnitClass]
             for a in UnitClass]  # fmt: skip
    np.testing.assert_array_equal(last, plain)
    assert np.trace(last) < last.sum(), "this training moves units"


@pytest.mark.parametrize("unweighted", [False, True])
@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("statistic", ["variance", "flap"])
def test_a_look_scores_as_identification_does(
    statistic: str, square: bool, unweighted: bool
) -> None:
    loaded = tiny.tiny_loaded()
    units = replace(UNITS, statistic=statistic, square_attention=square, unweighted=unweighted)
    callback = replace(TRACKING, units=units).callback(loaded)
    callback._look(0)
    wanted = identify(loaded, CALIBRATION, units, CPU).unit_map(units, PROVENANCE)
    np.testing.assert_array_equal(callback._classes[0], wanted.classes)


def test_accumulated_batches_are_one_step() -> None:
    track = train(tiny.tiny_loaded(), Tracking(2, CALIBRATION, UNITS), accumulate=3).track
    assert track is not None
    assert [look["step"] for look in track] == [0, 2, 4]


def test_the_overhead_is_the_time_of_looks_over_that_of_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a clock that moves by one with every reading: four looks of 1 among 5 others."""
    clock = SimpleNamespace(process_time=itertools.count().__next__)
    monkeypatch.setattr(tracking, "time", clock)
    summary = train(tiny.tiny_loaded(), TRACKING)
    assert summary.track_overhead == 4 / 5
    assert "track_overhead" not in summary.as_dict(), "another training would take another time"
    assert summary.as_dict()["track"] == summary.track
    assert not {"track", "track_overhead"} & set(train(tiny.tiny_loaded(), None).as_dict())


def test_a_look_leaves_nothing_behind() -> None:
    loaded = tiny.tiny_loaded("llama_gqa", attention_dropout=0.5)
    loaded.model.train()
    part = next(loaded.model.children())
    part.eval()
    modes = [module.training for module in loaded.model.modules()]
    state = torch.get_rng_state()
    callback = TRACKING.callback(loaded)
    callback._look(0)
    assert [module.training for module in loaded.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert tiny.pre_hooks(loaded.model) == 0
    assert all(item.grad is None for item in loaded.model.parameters())


def test_hooks_and_modes_are_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.tiny_loaded()
    loaded.model.train()

    def broken(*_: Any) -> None:
        raise ValueError

    monkeypatch.setattr("ssah_exp.units.snapshot.hidden_states", broken)
    callback = TRACKING.callback(loaded)
    with pytest.raises(ValueError):  # noqa: PT011
        callback._look(0)
    assert tiny.pre_hooks(loaded.model) == 0
    assert all(module.training for module in loaded.model.modules())


@pytest.mark.parametrize("kill_at", [3, 4, 5, 8])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_killed_run_has_seen_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int, reverse: bool
) -> None:
    """Checkpoints come before or behind the looks, by the order of callbacks: no matter."""
    wanted = train(tiny.tiny_loaded(), TRACKING).track
    looks: list[int] = []

    def counted(*arguments: Any) -> Any:
        looks.append(1)
        return classes_now(*arguments)

    def ordered(config: TrainerConfig, callbacks: Sequence[pl.Callback], **rest: Any) -> pl.Trainer:
        own = [*reversed(callbacks)] if reverse else [*callbacks]
        return make_trainer(config, [*own, KillAt(kill_at)], **rest)

    monkeypatch.setattr(tracking, "classes_now", counted)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_trainer", ordered)
        with pytest.raises(KilledError):
            train(tiny.tiny_loaded(), TRACKING, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).is_file()
    assert train(tiny.tiny_loaded(), TRACKING, folder=tmp_path).track == wanted
    assert len(looks) == 4, "no step is looked at twice"
