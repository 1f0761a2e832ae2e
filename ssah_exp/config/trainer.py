"""Lightning's Trainer from the `trainer` group."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from ssah_exp.config.schema import TrainerConfig


def make_trainer(
    config: TrainerConfig, callbacks: list[pl.Callback], **arguments: Any
) -> pl.Trainer:
    """A Trainer that keeps no logs and no checkpoints of its own: records and cache do.

    Args:
        config: Accelerator, devices, progress bars.
        callbacks: Callbacks of the stage; a progress bar is added if asked for.
        **arguments: Passed on to ``pl.Trainer``.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    # Examples are in memory already; worker processes would cost more than they bring.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*num_workers.*")
    # Calibration passes are run for what callbacks see.
    warnings.filterwarnings("ignore", message=".*predict returned None.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    bars: list[pl.Callback] = [RichProgressBar(leave=False)] if config.progress else []
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        callbacks=[*callbacks, *bars],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=config.progress,
        **arguments,
    )
