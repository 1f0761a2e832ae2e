"""A model with a plan in it, stepped as a benchmark steps it: the same code timed or counted.

The steps are plain ones, without Lightning: loss, backward, optimizer, and what
:class:`~ssah_exp.training.tuned.TunedWeights` does around the optimizer. It is the same code that
the LightningModule calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssah_exp.bench.compiling import compile_blocks
from ssah_exp.bench.memory import StaticMemory, size_of, states_of
from ssah_exp.bench.settings import EVERY_ARM, BenchSettings
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


def ready(model: PreTrainedModel, settings: BenchSettings) -> PreTrainedModel:
    """The model in training mode, with activations recomputed if the settings say so."""
    model.train()
    if settings.checkpointing:
        recompute_activations(model)
    return model


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


def sizes_of(model: PreTrainedModel, plan: TrainingPlan) -> dict[str, int]:
    """Weights: all, those of units, and those that the plan may change."""
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
class Training:
    """A model ready to step.

    Attributes:
        model: With the plan in it.
        originals: The model's own parameters, from before the plan was put in.
        tuned: What the plan trains.
        optimizer: Of that.
        counted: ``(B, T)`` bool, which tokens count.
    """

    model: PreTrainedModel
    originals: list[torch.nn.Parameter]
    tuned: TunedWeights
    optimizer: torch.optim.Optimizer
    counted: torch.Tensor

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

    def first_step(self, ids: torch.Tensor) -> StaticMemory:
        """Take a step, which creates the optimizer states; count what stays in use.

        Args:
            ids: ``(B, T)`` int64.
        """
        self.gradients(ids)
        own = {id(item) for item in self.originals}
        seen = [item for group in self.optimizer.param_groups for item in group["params"]]
        gradients = size_of(item.grad for item in [*self.originals, *seen])
        self.update()
        return StaticMemory(
            weights=size_of(self.originals),
            masters=size_of(i for i in seen if id(i) not in own and i.untyped_storage().nbytes()),
            gradients=gradients,
            optimizer_states=size_of(states_of(self.optimizer)),
            others=size_of(self.model.buffers()) + self.tuned.kept_bytes,
        )


@contextmanager
def started(
    model: PreTrainedModel,
    plan: TrainingPlan,
    arm: str,
    counted: torch.Tensor,
    settings: BenchSettings,
) -> Iterator[Training]:
    """Put the plan into the model, in the arm's way, for as long as the block lasts."""
    originals, chosen = list(model.parameters()), EVERY_ARM[arm]
    with tuned_weights(model, plan, chosen.way, masters=settings.masters) as tuned:
        parameters = tuned.optimizer_parameters()
        optimizer = torch.optim.AdamW(parameters, lr=_LEARNING_RATE, fused=True)
        if chosen.compiled:
            compile_blocks(model)
        yield Training(model, originals, tuned, optimizer, counted)
