"""What follows from a config, for whoever reads it: its checks, its identity, any later room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ssah_exp.config.artefacts import PROBE
from ssah_exp.config.schema import RunConfig

TRANSFORMERS, VLLM = ENGINES = ("transformers", "vllm")
# Adapters that stay beside the weights and can be neither merged into them nor sharded.
ATTACHED = ("Prefix", "LlamaAdapter")


def class_of(node: Mapping[str, Any] | None) -> str:
    """Class name in a node's ``_target_``; empty where there is none."""
    return "" if node is None else str(node.get("_target_", "")).rpartition(".")[2]


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
