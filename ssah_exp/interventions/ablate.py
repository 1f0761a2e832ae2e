"""Ablation (protocol section 3): activations replaced by a constant, through reversible hooks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssah_exp.errors import UnitError
from ssah_exp.models.anatomy import blocks, output_projection
from ssah_exp.models.sizes import KINDS, Anatomy, Kind
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.statistics import ChannelStatistics


@dataclass(frozen=True)
class Ablation:
    """Channels to replace, and the constants that replace them.

    Attributes:
        masks: Kind -> ``(layers, channels)`` bool, true on channels of ablated units.
        fills: Kind -> ``(layers, channels)`` float64, the constants.
    """

    masks: dict[Kind, torch.Tensor]
    fills: dict[Kind, torch.Tensor]

    @property
    def fingerprint(self) -> str:
        """sha256 over masks and the constants under them."""
        digest = hashlib.sha256()
        for kind in KINDS:
            mask, fill = self.masks[kind], self.fills[kind]
            digest.update(mask.numpy().tobytes())
            digest.update(fill[mask].numpy().tobytes())
        return digest.hexdigest()


def fill_values(
    fill: str, safety: ChannelStatistics, utility: ChannelStatistics
) -> dict[Kind, torch.Tensor]:
    """The constant of every channel.

    Args:
        fill: ``safety`` or ``utility`` (that calibration set's mean), ``pooled`` (the mean over
            the tokens of both) or ``zero``.
        safety: Statistics over the safety calibration set.
        utility: Statistics over the utility calibration set.

    Returns:
        Kind -> ``(layers, channels)`` float64.

    Raises:
        UnitError: Unknown fill.
    """
    choices: dict[str, Callable[[Kind], torch.Tensor]] = {
        "safety": lambda kind: safety.by_kind[kind].mean,
        "utility": lambda kind: utility.by_kind[kind].mean,
        "pooled": lambda kind: safety.pooled_mean(utility, kind),
        "zero": lambda kind: torch.zeros_like(safety.by_kind[kind].mean),
    }
    if fill not in choices:
        raise UnitError(f"Unknown fill '{fill}'. Allowed: {', '.join(choices)}.")
    return {kind: choices[fill](kind) for kind in KINDS}


def plan_ablation(
    selected: NDArray[np.bool_], anatomy: Anatomy, fills: dict[Kind, torch.Tensor]
) -> Ablation:
    """Widen a set of units to channels.

    Args:
        selected: ``(units,)`` bool in the order of :class:`UnitIndex`.
        anatomy: Sizes of the model.
        fills: From :func:`fill_values`.

    Raises:
        UnitError: The set is empty or has another model's length.
    """
    if selected.shape != (anatomy.units,):
        raise UnitError(f"{selected.shape[0]} units given for a model of {anatomy.units}.")
    if not selected.any():
        raise UnitError("No unit is selected: there is nothing to ablate.")
    heads, neurons = UnitIndex(anatomy).split(selected)
    masks: dict[Kind, torch.Tensor] = {
        "attention": torch.from_numpy(np.repeat(heads, anatomy.head_dim, axis=1)),
        "mlp": torch.from_numpy(neurons.copy()),
    }
    return Ablation(masks, fills)


@contextmanager
def ablated(model: nn.Module, ablation: Ablation) -> Iterator[None]:
    """Replace the chosen channels at the inputs of ``o_proj`` and ``down_proj``.

    Equal to zeroing the units' columns of B and adding the constants' contribution as its bias.
    The hooks are removed whatever happens inside; no weight is touched.
    """
    with ExitStack() as stack:
        for kind in KINDS:
            for layer in range(len(blocks(model))):
                mask = ablation.masks[kind][layer]
                if mask.any():
                    module = output_projection(model, layer, kind)
                    hook = _replace(mask, ablation.fills[kind][layer], module)
                    stack.callback(module.register_forward_pre_hook(hook).remove)
        yield


def _replace(
    mask: torch.Tensor, fill: torch.Tensor, module: nn.Module
) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    fill = fill.to(weight.dtype)
    at: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    def replace(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        device = inputs[0].device  # not the weight's device: it may be offloaded
        if device not in at:
            # Kept for later passes: what inference mode makes, no pass with gradients may use.
            with torch.inference_mode(False):
                at[device] = mask.to(device), fill.to(device)
        here, value = at[device]
        return (torch.where(here, value, inputs[0]), *inputs[1:])

    return replace
