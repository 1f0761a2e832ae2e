"""Identification as published, for comparison: block by block, one sample at a time.

The precursor code (protocol section 1) holds every sample's hidden states, and for each block and
sample places hooks anew, runs the block, and updates FLAP's running statistic in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ssah_exp.models.anatomy import blocks, output_projection
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.sizes import KINDS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Arrived(Exception):  # noqa: N818  # not an error: ends a pass at the first block
    """What the first block was given."""

    def __init__(self, hidden: torch.Tensor, rest: dict[str, Any]) -> None:
        super().__init__()
        self.hidden, self.rest = hidden, rest


class _Running:
    """FLAP's statistic of one module, one sample after the other."""

    def __init__(self) -> None:
        self.samples = 0
        self.mean: torch.Tensor | float = 0.0
        self.fluctuation: torch.Tensor | float = 0.0

    def add(self, inputs: torch.Tensor) -> None:
        """Take one sample's counted tokens, ``(T, C)``."""
        self.samples = number = self.samples + 1
        values = inputs.float()
        self.mean = self.mean + (values.mean(dim=0) - self.mean) / number
        if number > 1:
            # The published code was meant to use the means before and after this update; there
            # both are one tensor, so it uses the updated mean twice.
            about = (values - self.mean).square().sum(dim=0)
            self.fluctuation = self.fluctuation * (number - 2) / (number - 1) + about / number


def collect_as_published(
    model: PreTrainedModel, samples: Sequence[torch.Tensor], counted: torch.Tensor
) -> list[dict[str, torch.Tensor | float]]:
    """Statistics of every block.

    Args:
        model: A causal language model whose blocks all take the same arguments (Llama).
        samples: ``(T,)`` token ids each.
        counted: ``(T,)`` bool, which tokens count.

    Returns:
        For each block, fluctuation by kind, ``(C,)`` float32.
    """
    states = [_first_inputs(model, sample) for sample in samples]
    found: list[dict[str, torch.Tensor | float]] = []
    for layer, block in enumerate(blocks(model)):
        running = {kind: _Running() for kind in KINDS}
        for at, (hidden, rest) in enumerate(states):
            with ExitStack() as hooks:
                for kind in KINDS:
                    into = output_projection(model, layer, kind)
                    handle = into.register_forward_pre_hook(_hook(running[kind], counted))
                    hooks.callback(handle.remove)
                output = block(hidden, **rest)
            states[at] = (output[0] if isinstance(output, tuple) else output, rest)
        found.append({str(kind): running[kind].fluctuation for kind in KINDS})
    return found


def _first_inputs(
    model: PreTrainedModel, sample: torch.Tensor
) -> tuple[torch.Tensor, dict[str, Any]]:
    """What the first block is given for one sample."""

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Arrived(args[0], kwargs)

    handle = blocks(model)[0].register_forward_pre_hook(stop, with_kwargs=True)
    ids = sample.unsqueeze(0)
    try:
        hidden_states(model, ids, torch.ones_like(ids))
    except _Arrived as arrived:
        return arrived.hidden, arrived.rest
    finally:
        handle.remove()
    raise AssertionError("The first block was never run.")


def _hook(running: _Running, counted: torch.Tensor) -> Any:
    def take(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        running.add(inputs[0][0][counted])

    return take
