"""Range checks of where a run is computed: processes, machines, kernels, device maps."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ssah_exp.config.facts import ATTACHED, class_of
from ssah_exp.config.plugins import plugins
from ssah_exp.config.ranges import at_least, choice
from ssah_exp.config.schema import ModelConfig, RunConfig
from ssah_exp.errors import did_you_mean

STRATEGIES = ("auto", "ddp", "fsdp2")
# Every transformers and every model has these: no need to import it, which takes seconds.
_PLAIN_KERNELS = ("sdpa", "eager")
_HUB_KERNEL = re.compile(r"[^/:]+/[^/:]+(:[^/:]+)?")  # ORG/REPO[@REVISION][:FUNCTION]
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


def processes_problems(config: RunConfig, *, trains: bool) -> Iterable[str]:
    """What is wrong with ``trainer``, and with a model's kernel and where it lies.

    Args:
        config: The whole config.
        trains: Whether the artefact fine-tunes arms.
    """
    trainer, model = config.trainer, config.model
    yield from at_least("trainer.devices", trainer.devices, 1)
    yield from at_least("trainer.num_nodes", trainer.num_nodes, 1)
    yield from choice("trainer.strategy", trainer.strategy, STRATEGIES)
    yield from at_least("trainer.checkpoint_minutes", trainer.checkpoint_minutes, 0)
    yield from _mps(config)
    yield from _attention(model.attn_implementation)
    yield from _device_map(model)
    if model.device_map is not None and (trains or config.alignment.enabled):
        yield (
            f"model.device_map={model.device_map} spreads a model for identification and "
            "evaluation only, and this run trains it. Give model.device_map=null and train with "
            "trainer.strategy=fsdp2 trainer.devices=N; or, if nothing but the alignment trains, "
            "keep the map and give alignment=none."
        )
    if trainer.devices * trainer.num_nodes > 1:
        yield from _several(config, trains=trains)
    elif trainer.strategy != "auto":
        yield (
            f"trainer.strategy={trainer.strategy} needs two processes or more: give "
            "trainer.devices=2 (or trainer.num_nodes=2), or trainer.strategy=auto."
        )


def _several(config: RunConfig, *, trains: bool) -> Iterable[str]:
    """What one process can do and several cannot."""
    trainer, model = config.trainer, config.model
    if model.device_map is not None:
        yield (
            f"model.device_map={model.device_map} spreads one process's model over the devices "
            f"that trainer.devices={trainer.devices} gives to one process each; drop one of them."
        )
    if model.device.startswith("cuda:"):
        yield f"model.device={model.device} puts every process on one card; give cuda or auto."
    if config.evaluation.engine == "vllm":
        yield (
            f"evaluation.engine=vllm starts processes of its own; trainer.devices="
            f"{trainer.devices} needs evaluation.engine=transformers."
        )
    if trains and config.training.track.every is not None:
        yield (
            f"training.track looks at the model of one process; trainer.devices={trainer.devices} "
            "needs training.track.every=null."
        )
    if trainer.strategy == "fsdp2" and trains:
        yield from _sharded_training(config)


def _mps(config: RunConfig) -> Iterable[str]:
    given = {"model.device": config.model.device, "trainer.accelerator": config.trainer.accelerator}
    for key, value in given.items():
        if value.partition(":")[0] == "mps":
            yield (
                f"{key}={value}: Apple's MPS has no float64, in which moments, norms and losses "
                "are summed; give cpu, or auto, which is the CPU there."
            )


def _attention(name: str) -> Iterable[str]:
    """Complain about a kernel that transformers does not know, where no model need be loaded."""
    # A plug-in may register a kernel of its own when it is imported, which is later.
    if name in _PLAIN_KERNELS or plugins():
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    known = {"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()}
    # Versions up to 5.22 list some names with this prefix, later ones take it off.
    if name.removeprefix("paged|") not in known and _HUB_KERNEL.fullmatch(name) is None:
        yield (
            f"model.attn_implementation={name}.{did_you_mean(name, known)} Kernels of the hub are "
            "named ORG/REPO."
        )


def _device_map(model: ModelConfig) -> Iterable[str]:
    placed = model.device_map
    if isinstance(placed, str):
        yield from choice("model.device_map", placed, DEVICE_MAPS)
    elif placed is not None and not isinstance(placed, dict):
        yield f"model.device_map={placed} is neither a name nor a mapping of modules to devices."
    on_disk = isinstance(placed, dict) and "disk" in placed.values()
    if on_disk and model.offload_folder is None:
        yield "model.device_map names disk; give model.offload_folder."
    if model.offload_folder is not None and placed is None:
        yield "model.offload_folder is given, but without model.device_map nothing is offloaded."


def _sharded_training(config: RunConfig) -> Iterable[str]:
    if config.training.optimizer == "adamw_8bit":
        yield (
            "training.optimizer=adamw_8bit cannot step on sharded weights (bitsandbytes knows no "
            "DTensor); with trainer.strategy=fsdp2 take adamw, whose states are split anyway."
        )
    for name, arm in config.training.arms.items():
        if (kind := class_of(arm.adapter)) in ATTACHED:
            yield (
                f"training.arms.{name}.adapter: {kind} is attached by hooks and cannot be trained "
                "under trainer.strategy=fsdp2; take ddp, or Lora or UnitLora."
            )
