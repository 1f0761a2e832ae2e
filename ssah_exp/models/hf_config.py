"""What a model's own ``config.json`` says of it, read without weights."""

from __future__ import annotations

from typing import Any

from ssah_exp.config.schema import ModelConfig
from ssah_exp.errors import ModelError


def load_config(location: str, config: ModelConfig, revision: str | None) -> Any:
    """transformers' config of a model, without weights.

    Raises:
        ModelError: It cannot be found or read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            location, revision=revision, trust_remote_code=config.trust_remote_code
        )
    except Exception as error:  # a model's own code may fail in any way
        raise ModelError(
            f"No model config could be loaded from {location}: {said(error)}"
        ) from error


def longest_sequence(location: str, config: ModelConfig, revision: str | None = None) -> int:
    """Positions the model was made for, from its config alone.

    Raises:
        ModelError: The config cannot be found or read, or names no limit.
    """
    limit = _positions_named(load_config(location, config, revision).get_text_config())
    if limit is None:
        raise ModelError(
            f"evaluation.perplexity.window=max: the config of {location} does not say how long a "
            "sequence may be (max_position_embeddings); give the window as a number of tokens."
        )
    return limit


def reachable_positions(
    location: str, config: ModelConfig, revision: str | None = None
) -> int | None:
    """Positions that texts may have; None = no limit is known.

    The configs of models whose rotary angles are stretched (linearly, or as texts grow) name the
    number before stretching, which is multiplied here.

    Raises:
        ModelError: The config cannot be found or read.
    """
    text = load_config(location, config, revision).get_text_config()
    limit = _positions_named(text)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    stretched = rope.get("rope_type", rope.get("type")) in ("linear", "dynamic")
    return int(limit * rope["factor"]) if limit is not None and stretched else limit


def _positions_named(text_config: Any) -> int | None:
    limit = getattr(text_config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def said(error: Exception) -> str:
    """Message of an error of transformers or below; its type comes first if it is no sentence."""
    spoken = isinstance(error, OSError | ValueError | ImportError)
    return str(error) if spoken else f"{type(error).__name__}: {error}"
