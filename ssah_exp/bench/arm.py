"""One arm of the training benchmark: a model, a plan, a few steps, what they took.

The steps are plain ones, without Lightning: loss, backward, optimizer, and what
:class:`~ssah_exp.training.tuned.TunedWeights` does around the optimizer. Nothing but the training
itself is timed, and it is the same code that the LightningModule calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ssah_exp.bench.compiling import compile_blocks, why_not
from ssah_exp.bench.memory import PeakMeter, StaticMemory, settle, size_of, states_of
from ssah_exp.bench.models import LLAMA_SIZES, load_embedded, random_llama
from ssah_exp.bench.proof import certificate_cost
from ssah_exp.bench.rounds import clock_of, synchronise
from ssah_exp.bench.settings import CERTIFIED, EVERY_ARM, BenchSettings
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.anatomy import read_anatomy
from ssah_exp.models.logits import token_losses
from ssah_exp.models.recomputing import recompute_activations
from ssah_exp.training.tuned import TunedWeights, tuned_weights
from ssah_exp.units.classes import lowest
from ssah_exp.units.index import UnitIndex

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LEARNING_RATE = 1e-5
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
    model = _model(settings, location)
    plan = plan_of(model, EVERY_ARM[arm].policy, settings)
    measured = {**_sizes(model, plan), **_train(model, plan, arm, settings, meter)}
    if arm == CERTIFIED:  # last: the proof's copy of weights must not count as training memory
        clock = clock_of(settings.device, settings.threads)
        measured["certificate"] = certificate_cost(model, plan, clock)
    return measured


def _model(settings: BenchSettings, location: str | None) -> PreTrainedModel:
    """The model, in training mode and on its device."""
    if location is not None:
        model = load_embedded(location, settings.device, settings.precision)
    else:
        sizes, device = LLAMA_SIZES[settings.model], torch.device(settings.device)
        model = random_llama(sizes, device, settings.dtype, settings.seed, settings.length)
    model.train()
    if settings.checkpointing:
        recompute_activations(model)
    return model


def _train(
    model: PreTrainedModel,
    plan: TrainingPlan,
    arm: str,
    settings: BenchSettings,
    meter: PeakMeter,
) -> dict[str, Any]:
    ids, counted = make_batches(settings, model.config.vocab_size)
    originals, chosen = list(model.parameters()), EVERY_ARM[arm]
    with tuned_weights(model, plan, chosen.way, masters=settings.masters) as tuned:
        parameters = tuned.optimizer_parameters()
        optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, fused=True)
        if chosen.compiled:
            compile_blocks(model)
        training = _Training(model, tuned, optimizer, counted, settings)
        meter.reset()
        static = _first_step(training, ids[0], originals, tuned.kept_bytes)
        timed = [training.timed_step(batch) for batch in ids[1:]][settings.warmup :]
        peak = meter.peak()
    seconds, losses = zip(*timed, strict=True)
    return {
        "tokens_per_second": settings.batch * settings.length / median(seconds),
        "peak_memory": peak,
        "peak_memory_source": meter.source,
        "static_memory": static.as_dict(),
        "loss": losses[-1],
    }


def plan_of(model: PreTrainedModel, policy: str, settings: BenchSettings) -> TrainingPlan:
    """A plan to train everything, only a random set of heads and neurons, or all but such a set."""
    if policy == "none":
        return plan_training(model, policy, None)
    index = UnitIndex(read_anatomy(model))
    ranking = np.random.default_rng(settings.seed).random(index.anatomy.units)
    share = settings.share if policy == "budget" else settings.frozen_share
    budget = share * float(index.parameters.sum())
    selected = np.zeros(index.anatomy.units, dtype=bool)
    selected[lowest(ranking, index.parameters, budget)] = True
    return plan_training(model, policy, selected)


def _sizes(model: PreTrainedModel, plan: TrainingPlan) -> dict[str, int]:
    return {
        "parameters": sum(item.numel() for item in model.parameters()),
        "unit_parameters": round(float(UnitIndex(read_anatomy(model)).parameters.sum())),
        "trained_parameters": plan.changeable(model),
    }


def make_batches(settings: BenchSettings, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same random tokens for every arm.

    Returns:
        ``(steps, B, T)`` int64 token ids, one batch for the first step, then warm-up, then timed
        ones; and ``(B, T)`` bool, which tokens count.
    """
    steps = 1 + settings.warmup + settings.steps
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (steps, settings.batch, settings.length)
    ids = torch.randint(vocabulary, shape, generator=generator)
    counted = torch.zeros(shape[1:], dtype=torch.bool)
    counted[:, -max(1, round(settings.response_share * settings.length)) :] = True
    return ids.to(settings.device), counted.to(settings.device)


@dataclass
class _Training:
    """A model ready to step."""

    model: PreTrainedModel
    tuned: TunedWeights
    optimizer: torch.optim.Optimizer
    counted: torch.Tensor
    settings: BenchSettings

    def gradients(self, ids: torch.Tensor) -> torch.Tensor:
        """Loss and backward pass; the gradients end up where the optimizer looks."""
        mask = torch.ones_like(ids)
        loss = token_losses(self.model, ids, mask, self.counted).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.tuned.before_step()
        return loss.detach()

    def update(self) -> None:
        """Step the optimizer and put its result into the weights."""
        self.optimizer.step()
        self.tuned.after_step()
        self.optimizer.zero_grad(set_to_none=True)

    def timed_step(self, ids: torch.Tensor) -> tuple[float, float]:
        """Seconds and loss of one step."""
        clock = clock_of(self.settings.device, self.settings.threads)
        synchronise(ids.device)
        started = clock()
        loss = self.gradients(ids)
        self.update()
        synchronise(ids.device)
        return clock() - started, float(loss)


def _first_step(
    training: _Training,
    ids: torch.Tensor,
    originals: list[torch.nn.Parameter],
    kept: int,
) -> StaticMemory:
    """Take a step that is not timed but creates the optimizer states; count the memory in use.

    Args:
        training: What to step.
        ids: ``(B, T)`` int64.
        originals: The model's own parameters, from before the plan was put in.
        kept: Bytes of the copies of frozen parts.
    """
    training.gradients(ids)
    own = {id(item) for item in originals}
    groups = training.optimizer.param_groups
    seen = [item for group in groups for item in group["params"]]
    gradients = size_of(item.grad for item in [*originals, *seen])
    training.update()
    return StaticMemory(
        weights=size_of(originals),
        masters=size_of(i for i in seen if id(i) not in own and i.untyped_storage().nbytes()),
        gradients=gradients,
        optimizer_states=size_of(states_of(training.optimizer)),
        others=size_of(training.model.buffers()) + kept,
    )
