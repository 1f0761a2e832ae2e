"""A model's shape without its weights: enough to plan a training, in hardly any memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ssah_exp.config.schema import ModelConfig
from ssah_exp.models.hf_config import load_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_skeleton(
    location: str, config: ModelConfig, revision: str | None = None
) -> PreTrainedModel:
    """The model of a folder or repository on the meta device; tied tensors are tied.

    Args:
        location: As for :func:`ssah_exp.models.load.load_model`.
        config: Whether remote code may run.
        revision: Commit, for hub repositories.

    Raises:
        ModelError: Its config cannot be found or read.
    """
    from transformers import AutoModelForCausalLM

    found, trust = load_config(location, config, revision), config.trust_remote_code
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(found, trust_remote_code=trust)  # type: ignore[no-untyped-call]
    model.tie_weights()  # transformers 5.0 leaves that out on the meta device
    return model
