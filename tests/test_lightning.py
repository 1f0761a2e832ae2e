"""Where Lightning computes: where the model lies, whatever else the machine has."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.accelerators import cuda as fabric_cuda
from lightning_fabric.accelerators import mps as fabric_mps
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ssah_exp import ranks
from ssah_exp.config import trainer as trainer_module
from ssah_exp.config.schema import RunConfig, TrainerConfig
from ssah_exp.config.trainer import check_place
from ssah_exp.errors import ConfigError
from ssah_exp.lightning import (
    DirectCheckpointIO,
    StaysInPlace,
    ended_by_signals,
    make_trainer,
)
from ssah_exp.models.load import LoadedModel
from ssah_exp.training import loop
from ssah_exp.units import identify
from tests import tiny
from tests.config.composing import config_of


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that Lightning and we take for one of two GPUs."""
    for accelerator in (CUDAAccelerator, fabric_cuda.CUDAAccelerator):
        monkeypatch.setattr(accelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(fabric_cuda, "num_cuda_devices", lambda: 2)
    monkeypatch.setattr(trainer_module.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fabric_mps.MPSAccelerator, "is_available", staticmethod(lambda: True))


def made(device: str, accelerator: str = "auto") -> pl.Trainer:
    config = TrainerConfig(accelerator=accelerator, progress=False)
    return make_trainer(config, [], device=torch.device(device))


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    ("device", "accelerator", "expected"),
    [
        ("cuda:1", "auto", "cuda:1"),
        ("cuda:1", "gpu", "cuda:1"),
        ("cuda:0", "cuda", "cuda:0"),
        ("cpu", "auto", "cpu"),
        ("cpu", "cuda", "cuda:0"),
        ("cuda:1", "cpu", "cpu"),
    ],
)
def test_one_process_computes_where_its_model_lies(
    device: str, accelerator: str, expected: str
) -> None:
    trainer = made(device, accelerator)
    assert trainer.strategy.root_device == torch.device(expected)
    kind = CUDAAccelerator if expected.startswith("cuda") else CPUAccelerator
    assert isinstance(trainer.accelerator, kind)


@pytest.mark.usefixtures("apple")
def test_a_model_on_the_cpu_of_a_mac_stays_there() -> None:
    trainer = made("cpu")
    assert isinstance(trainer.accelerator, CPUAccelerator)
    assert trainer.strategy.root_device == torch.device("cpu")


@pytest.mark.usefixtures("apple")
def test_a_model_that_stays_in_place_takes_its_accelerator_along() -> None:
    cpu = torch.device("cpu")
    config = TrainerConfig(progress=False)
    trainer = make_trainer(config, [], device=cpu, strategy=StaysInPlace(cpu))
    assert isinstance(trainer.accelerator, CPUAccelerator)


class _Seen(Exception):  # noqa: N818 - ends what would go on
    pass


def identifies(loaded: LoadedModel, config: RunConfig) -> None:
    sets = {name: tiny.conversations(3) for name in identify.SETS}
    identify.identify(loaded, sets, config.units, config.trainer)


def trains(loaded: LoadedModel, config: RunConfig) -> None:
    examples = tiny.conversations(3)
    run = loop.supervised_run(loaded, examples, config.alignment, 0, config.trainer)
    loop.fine_tune(loaded, run)


@pytest.mark.parametrize(("module", "stage"), [(identify, identifies), (loop, trains)])
def test_stages_say_where_their_model_lies(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    stage: Callable[[LoadedModel, RunConfig], None],
) -> None:
    seen: list[torch.device] = []

    def look(*_: object, device: torch.device, **__: object) -> None:
        seen.append(device)
        raise _Seen

    monkeypatch.setattr(LoadedModel, "device", torch.device("cuda", 1))
    monkeypatch.setattr(module, "make_trainer", look)
    with pytest.raises(_Seen):
        stage(tiny.tiny_loaded("llama_gqa"), config_of("trainer=cpu"))
    assert seen == [torch.device("cuda", 1)]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (SystemExit(143), SystemExit),  # SIGTERM, when Lightning did not listen
        (SIGTERMException(), SystemExit),  # ... and when it did
        (SystemExit(1), KeyboardInterrupt),  # Lightning's way to end after Ctrl+C
    ],
)
def test_a_signal_ends_a_training_as_it_ends_a_process(
    raised: BaseException, told: type[BaseException]
) -> None:
    with pytest.raises(told) as ended, ended_by_signals():
        raise raised
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 143


@pytest.mark.usefixtures("cards")
def test_processes_with_gpus_and_a_model_without_are_refused() -> None:
    config = config_of("trainer.devices=2", "model.device=cpu")
    with pytest.raises(ConfigError, match=r"give trainer\.accelerator=cpu, or model\.device=auto"):
        check_place(config)
    for override in ("trainer.accelerator=cpu", "trainer.devices=1", "model.device=auto"):
        check_place(config_of("trainer.devices=2", "model.device=cpu", override))


@pytest.mark.usefixtures("cards")
def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sees 2 GPU.*launcher\.gpus"):
        check_place(config_of("trainer.devices=3"))
    for fits in (["trainer.devices=2"], ["trainer.devices=3", "trainer.accelerator=cpu"]):
        check_place(config_of(*fits))


@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_said_before_anything_is_computed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning said so with a traceback, once the first arm was to be trained."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for more in ("trainer.devices=1", "trainer.devices=2"):
        with pytest.raises(ConfigError, match=rf"accelerator={name} .* sees no GPU"):
            check_place(config_of(f"trainer.accelerator={name}", more))
    for fits in ("auto", "cpu"):
        check_place(config_of(f"trainer.accelerator={fits}"))


def test_ranks_write_checkpoints_in_place_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 2)
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    for name, value in {**place, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    config = TrainerConfig(devices=2, progress=False)
    trainer = make_trainer(config, [], device=torch.device("cpu"), strategy="ddp")
    assert isinstance(trainer.strategy.checkpoint_io, DirectCheckpointIO)
    assert trainer.world_size == 2
