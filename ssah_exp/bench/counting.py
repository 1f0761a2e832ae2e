"""`ssah-exp bench count`: what a training step takes, counted on tensors without numbers.

It is the code that `bench train` times, of any size and on any machine: torch's fake tensors have
shapes and dtypes, and operations on them take neither the memory nor the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from ssah_exp.bench.live import LiveMemory
from ssah_exp.bench.models import LLAMA_SIZES, embedded_shape, locate, random_llama
from ssah_exp.bench.rounds import without_machine
from ssah_exp.bench.settings import ARMS, NOT_COUNTED, BenchSettings
from ssah_exp.bench.steps import make_batches, plan_of, ready, sizes_of, started
from ssah_exp.bench.training import TRAINING_RATIOS
from ssah_exp.interventions.plan import TrainingPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def bench_count(settings: BenchSettings, root: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Count what a step of every arm takes, and compare them.

    Args:
        settings: What to train and how.
        root: Where the embedded model is cached.
        say: Takes a line of progress.

    Returns:
        Versions, settings, arms and ratios, as plain JSON values.

    Raises:
        SsahError: The embedded model is not there, or the share is too small for a single unit.
    """
    ref = locate(settings.model, root)
    arms: dict[str, dict[str, Any]] = {}
    for arm in ARMS:
        say(f"counting: {arm}")
        arms[arm] = count_arm(settings, ref.location if ref else None, arm)
    said = {name: value for name, value in asdict(settings).items() if name not in NOT_COUNTED}
    return {
        **without_machine("count", said, ref),
        "arms": arms,
        "ratios": {f"{a}/{b}": _ratios(arms[a], arms[b]) for a, b in TRAINING_RATIOS},
    }


def count_arm(settings: BenchSettings, location: str | None, arm: str) -> dict[str, Any]:
    """Count the second step of an arm; the first creates what the optimizer keeps.

    Args:
        settings: What all arms share.
        location: Where the embedded model's config is; None = a Llama's sizes.
        arm: A key of :data:`ARMS`.

    Returns:
        Numbers of weights; ``static_memory`` as in the timed benchmark; ``peak_memory``, the most
        bytes of tensors in use at once, and its two halves: ``peak_of_gradients`` (forward and
        backward pass) and ``peak_of_update``; ``flop`` of matrix products, attention's left out.
    """
    ids, counted = make_batches(settings, vocabulary=2)  # which tokens changes nothing
    plan = _plan(settings, location, arm)
    with _without_numbers(chosen=int(counted[:, 1:].sum())) as memory:
        model = ready(_shape(settings, location), settings)
        with started(model, plan, arm, counted, settings) as training:
            static = training.first_step(ids[0])
            memory.restart()
            training.gradients(ids[1])
            peaks = {"peak_of_gradients": memory.peak}
            memory.restart()
            training.update()
            peaks["peak_of_update"] = memory.peak
            with FlopCounterMode(display=False) as products:  # last: it keeps tensors alive
                training.gradients(ids[1])
        return {
            **sizes_of(model, plan),
            "static_memory": static.as_dict(),
            "peak_memory": max(peaks.values()),
            **peaks,
            "flop": _of_matrices(products),
        }


def _of_matrices(counted: FlopCounterMode) -> int:
    """Operations of matrix products; attention's on a CPU are counted from torch 2.15 on."""
    by_operation = counted.get_flop_counts()["Global"]
    return sum(flop for name, flop in by_operation.items() if "attention" not in str(name))


def _plan(settings: BenchSettings, location: str | None, arm: str) -> TrainingPlan:
    """The arm's plan, with numbers: positions cannot be found among tensors that have none."""
    with torch.device("meta"):
        plan = plan_of(_shape(settings, location), ARMS[arm].policy, settings)
    for item in plan.slices:
        item.rest.numel()  # kept from now on
    return plan


@contextmanager
def _without_numbers(chosen: int) -> Iterator[LiveMemory]:
    """Make every new tensor a fake one for as long as the block lasts.

    Args:
        chosen: Tokens that count in the loss, for the mask that chooses them.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), LiveMemory(chosen) as memory:
        yield memory


def _shape(settings: BenchSettings, location: str | None) -> PreTrainedModel:
    if location is not None:
        return embedded_shape(location, settings.dtype)
    sizes, device = LLAMA_SIZES[settings.model], torch.get_default_device()
    return random_llama(sizes, device, settings.dtype, settings.seed, settings.length)


def _ratios(this: dict[str, Any], that: dict[str, Any]) -> dict[str, float]:
    return {
        "peak_memory": this["peak_memory"] / that["peak_memory"],
        "static_memory": this["static_memory"]["total"] / that["static_memory"]["total"],
        "flop": this["flop"] / that["flop"],
    }
