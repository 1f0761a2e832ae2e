"""The one model in memory is the only one."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
from rich.console import Console

from ssah_exp.cache import Cache
from ssah_exp.config.schema import TuningConfig
from ssah_exp.models.companion import Companion
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sources import LocalFolder, ModelRef
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import ModelSlot
from ssah_exp.training.loop import fine_tune, supervised_run
from ssah_exp.units.identify import identify
from tests import tiny
from tests.pipeline.tiny_run import save_model, tiny_config


class Judge(Companion):
    """Keeps what it has loaded, as every companion does."""

    @cached_property
    def _loaded(self) -> object:
        return self.load_companion("judge")[0]

    @property
    def model(self) -> object:
        return self._loaded


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected by chance."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("use", ["train", "identify"])
def test_what_lightning_ran_is_gone_before_another_model_is_loaded(
    uncollected: None, use: str, tmp_path: Path
) -> None:
    save_model(tmp_path / "model")
    config = tiny_config(tmp_path)
    slot = ModelSlot(config, Reporter(Console(file=io.StringIO()), bars=False))
    ref: ModelRef = LocalFolder(str(tmp_path / "model")).resolve(Cache(tmp_path / "cache"))[0]
    examples = tiny.conversations(4)

    def used(loaded: LoadedModel) -> weakref.ref[object]:
        if use == "train":
            tuning = TuningConfig(epochs=1, batch_size=2, learning_rate=1e-3)
            fine_tune(loaded, supervised_run(loaded, examples, tuning, 0, config.trainer))
        else:
            calibration = {"safety": examples, "utility": examples}
            identify(loaded, calibration, config.units, config.trainer)
        return weakref.ref(loaded.model)

    model = used(slot.to_train(ref))
    assert model() is not None
    slot.clear()
    assert model() is None


def test_judges_and_attackers_make_room_for_a_training(uncollected: None, tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    folder = LocalFolder(str(tmp_path / "model"))
    judge = Judge(weights=folder, device="cpu")
    slot = ModelSlot(
        tiny_config(tmp_path), Reporter(Console(file=io.StringIO()), bars=False), [judge]
    )
    ref: ModelRef = folder.resolve(Cache(tmp_path / "cache"))[0]
    slot.get(ref)
    before = weakref.ref(judge.model)
    slot.get(ref)
    assert before() is judge.model
    slot.to_train(ref)
    assert before() is None
    assert judge.model is not None  # loaded again
