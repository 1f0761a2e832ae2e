"""A model's shape without its weights: enough to plan a training, in hardly any memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError
from ssah_exp.models.hf_config import load_config
from ssah_exp.models.sidecar import sidecar_folder
from ssah_exp.models.weights import read_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_skeleton(
    location: str, config: ModelConfig, revision: str | None = None
) -> PreTrainedModel:
    """The model of a folder or repository on the meta device; tied tensors are tied.

    Where a config ties an LM head that the files hold apart, nothing is tied, as when it is loaded.

    Args:
        location: As for :func:`ssah_exp.models.load.load_model`.
        config: Whether remote code may run.
        revision: Commit, for hub repositories.

    Raises:
        ModelError: Its config cannot be found or read.
    """
    found, trust = load_config(location, config, revision), config.trust_remote_code
    model = _shape(found, trust)
    ties = getattr(found, "tie_word_embeddings", False)
    if ties and _head_apart(model, sidecar_folder(location, revision)):
        found.tie_word_embeddings = False
        model = _shape(found, trust)
    return model


def _shape(found: Any, trust: bool) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(found, trust_remote_code=trust)  # type: ignore[no-untyped-call]
    model.tie_weights()  # transformers 5.0 leaves that out on the meta device
    return model


def _head_apart(model: PreTrainedModel, folder: Path) -> bool:
    """Whether the files hold an LM head of other numbers than the embeddings.

    What cannot be read, or has not been downloaded yet, is left to the loading of the weights.
    """
    whole: Any = model
    ends = (whole.get_input_embeddings(), whole.get_output_embeddings())
    places = {part: name for name, part in model.named_modules()}
    try:
        weights = read_weights(folder)
    except ModelError:
        return False
    embeddings, head = (weights.get(f"{places.get(end)}.weight") for end in ends)
    return embeddings is not None and head is not None and not torch.equal(embeddings, head)
