"""Lightning as every stage uses it: its Trainer from the `trainer` group, its way with signals."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import SingleDeviceStrategy, Strategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ssah_exp import ranks
from ssah_exp.config.schema import TrainerConfig
from ssah_exp.config.trainer import uses_cuda
from ssah_exp.errors import ENDED

# Lightning's warnings about things that are not wrong here.
_NEEDLESS = (
    # Examples are in memory already; worker processes would cost more than they bring.
    "does not have many workers",
    "num_workers",
    # Calibration passes are run for what callbacks see.
    "predict returned None",
    "LeafSpec",
    # The model lies where it was asked to.
    "available but not used",
    # Ranks are started by ssah-exp or torchrun.
    "srun. command is available",
)

_NOWHERE = str(Path(os.devnull) / "no folder")


class StaysInPlace(SingleDeviceStrategy):
    """For models whose weights already lie where they should: on several devices or ranks.

    Args:
        device: Where batches go.
    """

    def model_to_device(self) -> None:
        """Leave the model where it is."""

    def teardown(self) -> None:
        """Leave the model where it is; Lightning would move its weights to main memory."""
        self.precision_plugin.teardown()
        assert self.accelerator is not None
        self.accelerator.teardown()


class DirectCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint straight to its path.

    Lightning makes a copy in memory, and writes that to the machine's folder for temporary files
    before it moves it to its path: on many clusters that folder is small, or memory again.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, not atomically: callers write beside its place and then move it.

        Raises:
            OSError: The disk will not take it. torch closes its file even after a failed write, and
                then fails with an error that says nothing about disks.
        """
        with Path(path).open("wb") as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            stream.flush()
            os.fsync(stream.fileno())  # before it takes the place of the one before it


def make_trainer(
    config: TrainerConfig,
    callbacks: list[pl.Callback],
    *,
    device: torch.device,
    strategy: Strategy | str | None = None,
    **arguments: Any,
) -> pl.Trainer:
    """A Trainer without logs and checkpoints of its own: records and the cache hold those.

    Args:
        config: Accelerator, progress bars.
        callbacks: Callbacks of the stage; a progress bar is added if asked for.
        device: Where the model lies. A single process computes there, unless the config names
            another kind of accelerator.
        strategy: How the ranks share one fit; None = this rank works alone on its own batches.
        **arguments: Passed on to ``pl.Trainer``.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for words in _NEEDLESS:
        warnings.filterwarnings("ignore", message=f".*{words}.*")
    progress = config.progress and ranks.first()
    bars: list[pl.Callback] = [RichProgressBar(leave=False)] if progress else []
    place = _place(config, strategy, device)
    return pl.Trainer(
        callbacks=[*callbacks, *bars],
        plugins=[DirectCheckpointIO(), *place.pop("plugins", ())],
        **place,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        # Within a Slurm job Lightning goes on from any hpc_ckpt_*.ckpt that it finds there.
        default_root_dir=_NOWHERE,
        **arguments,
    )


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Around a Trainer: turn Lightning's reactions to signals back into those of a plain process.

    Lightning swallows SIGTERM until something raises ``SIGTERMException``, and exits with code 1
    after Ctrl+C.

    Raises:
        SystemExit: With 143, the exit code of a process that SIGTERM ended.
        KeyboardInterrupt: In place of any other SystemExit, such as Lightning's after Ctrl+C.
    """
    try:
        yield
    except SIGTERMException as error:
        raise SystemExit(ENDED) from error
    except SystemExit as error:
        if error.code == ENDED:  # SIGTERM came when Lightning did not listen
            raise
        raise KeyboardInterrupt from error


def _place(
    config: TrainerConfig, strategy: Strategy | str | None, device: torch.device
) -> dict[str, Any]:
    """Arguments that tell Lightning its devices and the other ranks, which are running already.

    ``auto`` is never handed on: Lightning would take the first card, or Apple's MPS.
    """
    if isinstance(strategy, StaysInPlace):
        # No inference mode: sharded weights are gathered into memory that a later training writes.
        kept: dict[str, Any] = {"strategy": strategy, "inference_mode": False}
        return {"accelerator": device.type, "devices": 1, **kept, **_alone()}
    if ranks.count() == 1:
        return {**_where(device, config.accelerator), **_alone()}
    accelerator = "cuda" if uses_cuda(config) else config.accelerator.replace("auto", "cpu")
    if strategy is None:
        devices = [ranks.local_rank()] if accelerator == "cuda" else 1
        return {"accelerator": accelerator, "devices": devices}
    return {
        "accelerator": accelerator,
        "devices": config.devices,
        "num_nodes": config.num_nodes,
        "strategy": strategy,
        "plugins": [TorchElasticEnvironment()],
    }


def _alone() -> dict[str, Any]:
    """Tell Lightning that there is no cluster, where this is one process.

    Within a Slurm job it would save a checkpoint of its own at any SIGUSR1, amid accumulated
    gradients, too, and have the job queued again.
    """
    return {} if ranks.count() > 1 else {"plugins": [LightningEnvironment()]}


def _where(device: torch.device, named: str) -> dict[str, Any]:
    """A model's device as Lightning names it; a named accelerator replaces its kind."""
    kind = {"auto": device.type, "gpu": "cuda"}.get(named, named)
    return {"accelerator": kind, "devices": [device.index or 0] if kind == "cuda" else 1}
