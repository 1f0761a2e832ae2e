"""Where the `trainer` group has a run computed."""

from __future__ import annotations

import torch

from ssah_exp.config.schema import RunConfig, TrainerConfig
from ssah_exp.errors import ConfigError


def uses_cuda(config: TrainerConfig) -> bool:
    """Whether processes compute on GPUs."""
    return config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def shards(config: TrainerConfig) -> bool:
    """Whether weights are split over processes."""
    return config.strategy == "fsdp2" and config.devices * config.num_nodes > 1


def check_place(config: RunConfig) -> None:
    """Refuse GPUs where there are none or too few, or the model is on the CPU.

    Raises:
        ConfigError: ``trainer.accelerator`` asks for a GPU and this process sees none; or
            ``trainer.devices`` is above the GPUs that it sees, or ``model.device`` is ``cpu``.
    """
    trainer = config.trainer
    if trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(  # Lightning would say so once it trains, after hours of other work
            f"trainer.accelerator={trainer.accelerator} is not available here: this process sees "
            "no GPU. Give trainer.accelerator=auto, which is the CPU there."
        )
    if trainer.devices * trainer.num_nodes == 1 or not uses_cuda(trainer):
        return
    cards = torch.cuda.device_count()
    if trainer.devices > cards:
        raise ConfigError(
            f"trainer.devices={trainer.devices} needs as many GPUs, but this process sees {cards} "
            "GPU(s). Give fewer devices; under hydra/launcher=local, raise hydra.launcher.gpus, "
            "how many each job sees."
        )
    if config.model.device == "cpu":
        raise ConfigError(
            f"model.device=cpu, but trainer.accelerator={trainer.accelerator} gives each process "
            "a GPU; give trainer.accelerator=cpu, or model.device=auto."
        )
