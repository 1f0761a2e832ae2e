"""What the certificate of a training run costs, and from how many steps on that is negligible."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import nn

from ssah_exp.bench.rounds import median_range
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.training.certificate import Witness, frozen_digests

# The proof is to cost less than this share of a run.
REACH = 0.01


def certificate_cost(
    model: nn.Module, plan: TrainingPlan, clock: Callable[[], float]
) -> dict[str, float]:
    """Change every slice of ``plan``, and time the proof of that change.

    Args:
        model: Left changed.
        plan: What may change: slices, as under a budget. Parameters that may change whole are
            left as they are.
        clock: In seconds.

    Returns:
        ``seconds`` of the whole proof, the same as in every run: digests before and after, a copy
        of what may change, its comparison; ``digest_seconds`` of both digests, measured apart;
        ``bytes`` hashed for both.
    """
    started = clock()
    for _ in range(2):
        frozen_digests(model, plan)
    digests = clock() - started
    started = clock()
    witness = Witness(model, plan)
    before = clock() - started
    _change(model, plan)
    started = clock()
    witness.certify(model)
    return {
        "seconds": before + clock() - started,
        "digest_seconds": digests,
        "bytes": 2 * frozen_bytes(model, plan),
    }


def frozen_bytes(model: nn.Module, plan: TrainingPlan) -> int:
    """Bytes of everything that ``plan`` does not let change."""
    parameters = dict(model.named_parameters())
    rests = (parameters[item.name].nbytes // item.size * item.rest.numel() for item in plan.slices)
    return sum(parameters[name].nbytes for name in plan.frozen) + sum(rests)


@torch.no_grad()
def _change(model: nn.Module, plan: TrainingPlan) -> None:
    """Add 1 to every slice: the proof costs the same whatever the change."""
    for item in plan.slices:
        weight = model.get_parameter(item.name)
        item.put(weight, item.take(weight) + 1)


def summed_up(costs: Sequence[dict[str, float]], step_seconds: float) -> dict[str, Any] | None:
    """Certificates of one arm over its repeats; None where none was made.

    Args:
        costs: What :func:`certificate_cost` returned.
        step_seconds: Seconds of a training step of the same arm.

    Returns:
        Median and range of both times, ``bytes``, ``bytes_per_second`` of hashing,
        ``step_seconds``, ``reach``, and ``steps_to_reach``: the fewest steps with which the proof
        takes less than the share ``reach`` of a run's time.
    """
    if not costs:
        return None
    seconds = median(item["seconds"] for item in costs)
    return {
        "seconds": median_range([item["seconds"] for item in costs]),
        "digest_seconds": median_range([item["digest_seconds"] for item in costs]),
        "bytes": costs[0]["bytes"],
        "bytes_per_second": costs[0]["bytes"] / median(item["digest_seconds"] for item in costs),
        "step_seconds": step_seconds,
        "reach": REACH,
        "steps_to_reach": math.floor(seconds / (REACH * step_seconds)) + 1,
    }
