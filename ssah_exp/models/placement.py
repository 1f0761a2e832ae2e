"""Weights that are not all in one place: where they are, and how to read them nevertheless."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_STORES = ("cpu", "disk")


def placement(model: nn.Module) -> Mapping[str, Any]:
    """Module -> device, as accelerate placed them; empty if it did not."""
    found: Mapping[str, Any] = getattr(model, "hf_device_map", None) or {}
    # A map that names a single place is a model on one device, which has no hooks.
    return found if len(set(map(str, found.values()))) > 1 else {}


def first_device(placed: Mapping[str, Any]) -> torch.device:
    """Where inputs go: the first device that computes; main memory if there is no other."""
    computing = [device for device in placed.values() if str(device) not in _STORES]
    if not computing:
        return torch.device("cpu")
    first = computing[0]
    return torch.device("cuda", first) if isinstance(first, int) else torch.device(first)


def offloaded(model: nn.Module) -> bool:
    """Whether some weights are not in memory between forward passes."""
    return any(parameter.device.type == "meta" for parameter in model.parameters())


@contextmanager
def weights_at_hand(module: nn.Module) -> Iterator[None]:
    """Bring one module's own weights back for as long as the block lasts, if they are offloaded."""
    if not any(item.device.type == "meta" for item in module.parameters(recurse=False)):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that may be split over ranks, put together; every rank must call this."""
    gather = getattr(tensor, "full_tensor", None)
    full: torch.Tensor = tensor if gather is None else gather()
    return full
