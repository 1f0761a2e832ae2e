"""What follows from a config, for whoever reads it: its checks, its identity, any later room."""

from __future__ import annotations

from collections.abc import Iterator

from ssah_exp.config.artefacts import PROBE
from ssah_exp.config.schema import ArmConfig, RunConfig

TRANSFORMERS, VLLM = ENGINES = ("transformers", "vllm")
# Adapters that stay beside the weights and can be neither merged into them nor sharded.
ATTACHED = ("Prefix", "LlamaAdapter")


def adapter_of(arm: ArmConfig) -> str:
    """Class name of an arm's adapter; empty where it has none."""
    return "" if arm.adapter is None else str(arm.adapter.get("_target_", "")).rpartition(".")[2]


def reads_given_pairs(config: RunConfig) -> bool:
    """Whether arms train on ``data.preferences`` instead of ``data.finetune`` or ``.alignment``."""
    return config.training.objective == "dpo" and config.data.preferences is not None


def styles_of(config: RunConfig) -> Iterator[str]:
    """Every prompt style that any prompt may have."""
    yield from config.alignment.prompt_styles
    if config.artefact == PROBE:
        yield config.probe.style
        return
    evaluation = config.evaluation
    yield from (*evaluation.harmful_styles, evaluation.benign_style, config.units.prompt_style)
    yield from config.training.prompt_styles
    for attack in evaluation.attacks.values():
        yield from attack.styles
