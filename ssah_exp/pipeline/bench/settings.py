"""What the training benchmark is asked to do, and the values it takes where nothing is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ssah_exp.errors import ConfigError, did_you_mean
from ssah_exp.models.load import DTYPES, resolve_device
from ssah_exp.pipeline.bench.models import EMBEDDED, SHAPES
from ssah_exp.training.tuned import Path

# Arm -> how its slices are trained; the full arm has none.
ARMS: dict[str, Path] = {"full": "auto", "masked": "masked", "compact": "compact"}

MODELS = (EMBEDDED, *SHAPES)


@dataclass(frozen=True)
class BenchSettings:
    """Everything the arms share.

    Attributes:
        model: ``embedded`` or the name of a shape.
        device: Where it trains.
        precision: Of weights and arithmetic; masters of lower-precision weights are float32.
        share: Share of the units' weights that the masked and the compact arm train.
        batch: Sequences per step.
        length: Tokens per sequence.
        steps: Timed steps per arm and repeat.
        warmup: Steps before them.
        repeats: How often every arm is measured.
        checkpointing: Recompute activations in the backward pass.
        response_share: Share of each sequence, from its end, whose tokens count in the loss.
        seed: Decides tokens, units and random weights.
        threads: CPU threads of torch.
    """

    model: str
    device: str
    precision: str
    share: float
    batch: int
    length: int
    steps: int
    warmup: int
    repeats: int
    checkpointing: bool
    response_share: float
    seed: int
    threads: int

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return DTYPES[self.precision]


def complete(given: dict[str, Any]) -> BenchSettings:
    """Fill what was not given by what suits the device, and check everything.

    Args:
        given: Fields of :class:`BenchSettings` but ``threads``; None where nothing was said.

    Raises:
        ConfigError: An unknown model, or values out of range: all of them at once.
        ModelError: The device is not there.
    """
    model = given["model"]
    if model is not None and model not in MODELS:
        raise ConfigError(f"Unknown model '{model}'.{did_you_mean(model, MODELS)}")
    on_gpu = resolve_device(given["device"]).type == "cuda"
    defaults = {
        "model": "llama2-7b" if on_gpu else EMBEDDED,
        "precision": "bfloat16" if on_gpu else "float32",
        "batch": 4 if on_gpu else 2,
        "length": 512 if on_gpu else 128,
    }
    said = {name: value for name, value in given.items() if value is not None}
    place = str(resolve_device(given["device"]))
    settings = BenchSettings(
        **{**defaults, **said, "device": place, "threads": torch.get_num_threads()}
    )
    problems = list(_problems(settings))
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _problems(settings: BenchSettings) -> Iterator[str]:
    if not 0 < settings.share < 1:
        yield f"--share={settings.share} lies outside (0, 1)."
    if not 0 < settings.response_share <= 1:
        yield f"--response-share={settings.response_share} lies outside (0, 1]."
    # The first token of a sequence has nothing that predicts it: two are needed for one loss.
    least = {"batch": 1, "length": 2, "steps": 1, "warmup": 0, "repeats": 1, "seed": 0}
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            yield f"--{name}={getattr(settings, name)} is below {bound}."


def arithmetic_limit(share: float, *, checkpointing: bool) -> float:
    """How many times faster than full training a step can be at most, by matrix products alone.

    Forward pass, gradient of the inputs and gradient of the weights cost the same; the last is
    needed for the trained share only. Checkpointing adds a forward pass. Attention scores, the
    vocabulary matrix and the optimizer are not in the sum, so a measured ratio can lie above it:
    full training alone computes gradients of that matrix and steps all weights.
    """
    forward = 2 if checkpointing else 1
    return (forward + 2) / (forward + 1 + share)
