"""One arm of the training benchmark: a model, a plan, a few steps, what they took.

Nothing but the training itself is timed: see :mod:`ssah_exp.bench.steps`.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from ssah_exp.bench.compiling import why_not
from ssah_exp.bench.memory import PeakMeter, settle
from ssah_exp.bench.models import model_of
from ssah_exp.bench.proof import certificate_cost
from ssah_exp.bench.rounds import clock_of, synchronise
from ssah_exp.bench.settings import CERTIFIED, EVERY_ARM, BenchSettings
from ssah_exp.bench.steps import Training, make_batches, plan_of, ready, sizes_of, started
from ssah_exp.interventions.plan import TrainingPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SMALL: dict[str, Any] = {
    "model": "tiny",
    "share": 0.5,  # enough for a unit of a tiny model, whatever the real one gets
    "frozen_share": 0.5,
    "batch": 1,
    "length": 8,
    "steps": 1,
    "warmup": 0,
}
# What allocators and libraries say when there is no memory; only CUDA's has a class of its own.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
    "CUDA error: out of memory",  # of the context itself, on a card that is full
)


def time_arm(settings: BenchSettings, location: str | None, arm: str) -> dict[str, Any]:
    """Train one arm for a few steps.

    Args:
        settings: What all arms share.
        location: Where the embedded model's weights are; None = random weights.
        arm: A key of :data:`EVERY_ARM`.

    Returns:
        ``status`` is ``done``, ``out_of_memory`` or ``skipped: `` and why; measurements only if
        done.
    """
    torch.set_num_threads(settings.threads)
    problem = why_not(settings.device) if EVERY_ARM[arm].compiled else None
    if problem:
        return {"status": f"skipped: {problem}"}
    try:
        return {"status": "done", **_measure(settings, location, arm)}
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or any(s in str(error) for s in _NO_MEMORY):
            return {"status": "out_of_memory"}
        raise


def time_alone(settings: BenchSettings, location: str | None, arm: str) -> dict[str, Any]:
    """:func:`time_arm` for a process that has run nothing yet.

    Libraries set themselves up when first used, at a cost in memory that is not the arm's: a tiny
    model is trained first.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    time_arm(replace(settings, **_SMALL), None, arm)
    settle()
    return time_arm(settings, location, arm)


def _measure(settings: BenchSettings, location: str | None, arm: str) -> dict[str, Any]:
    meter = PeakMeter(torch.device(settings.device))
    model = ready(model_of(settings, location), settings)
    plan = plan_of(model, EVERY_ARM[arm].policy, settings)
    measured = {**sizes_of(model, plan), **_train(model, plan, arm, settings, meter)}
    if arm == CERTIFIED:  # last: the proof's copy of weights must not count as training memory
        clock = clock_of(settings.device, settings.threads)
        measured["certificate"] = certificate_cost(model, plan, clock)
    return measured


def _train(
    model: PreTrainedModel,
    plan: TrainingPlan,
    arm: str,
    settings: BenchSettings,
    meter: PeakMeter,
) -> dict[str, Any]:
    ids, counted = make_batches(settings, model.config.vocab_size)
    with started(model, plan, arm, counted, settings) as training:
        meter.reset()
        static = training.first_step(ids[0])
        timed = [_timed_step(training, batch, settings) for batch in ids[1:]][settings.warmup :]
        peak = meter.peak()
    seconds, losses = zip(*timed, strict=True)
    return {
        "tokens_per_second": settings.batch * settings.length / median(seconds),
        "peak_memory": peak,
        "peak_memory_source": meter.source,
        "static_memory": static.as_dict(),
        "loss": losses[-1],
    }


def _timed_step(
    training: Training, ids: torch.Tensor, settings: BenchSettings
) -> tuple[float, float]:
    """Seconds and loss of one step."""
    clock = clock_of(settings.device, settings.threads)
    synchronise(ids.device)
    started_at = clock()
    loss = training.gradients(ids)
    training.update()
    synchronise(ids.device)
    return clock() - started_at, float(loss)
