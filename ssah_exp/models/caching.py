"""What transformers calls the key-value cache: ``past_key_values``, and ``cache`` from 5.24 on."""

from __future__ import annotations

import inspect

from torch import nn

_NAMES = ("cache", "past_key_values")


def cache_argument(module: nn.Module) -> str:
    """Name of the argument that takes the cache in ``module.forward``.

    Args:
        module: A decoder, or a causal language model.
    """
    parameters = inspect.signature(module.forward).parameters
    return next(name for name in _NAMES if name in parameters)
