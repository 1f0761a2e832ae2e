"""Activations recomputed in the backward pass (gradient or activation checkpointing)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def recompute_activations(model: Any) -> None:
    """From now on keep only each block's inputs, and recompute the rest for gradients.

    transformers 5.24 calls this activation checkpointing and warns of the older name, the only one
    that versions before it know. It also makes embeddings ask for a gradient, for checkpoints that
    enter autograd anew (``use_reentrant``). These do not, so what it installed goes again: through
    blocks before the first trained one there is no backward pass, nor a second forward pass.

    Args:
        model: A ``PreTrainedModel``.
    """
    getattr(model, f"{_name(model)}_enable")({"use_reentrant": False})
    if hasattr(model, "_require_grads_hook"):
        model.disable_input_require_grads()


@contextmanager
def recomputing(model: Any, wanted: bool) -> Iterator[None]:
    """:func:`recompute_activations` for as long as the block lasts, if wanted."""
    if not wanted:
        yield
        return
    recompute_activations(model)
    try:
        yield
    finally:
        getattr(model, f"{_name(model)}_disable")()


def _name(model: Any) -> str:
    newer = hasattr(model, "activation_checkpointing_enable")
    return "activation_checkpointing" if newer else "gradient_checkpointing"
