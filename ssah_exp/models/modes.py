"""Modes of a model and its modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for as long as the block lasts; then every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    nn.Module.eval(model)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
