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
    """Refuse several GPU processes where there are too few GPUs, or the model is on the CPU.

    Raises:
        ConfigError: ``trainer.devices`` is above the GPUs that this process sees, or
            ``model.device`` is ``cpu``.
    """
    trainer = config.trainer
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
