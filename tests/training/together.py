"""Every option of compact training in one run, and the same training written out plainly.

The plain one computes all gradients, sums them in float32, masks them, and moves float32 masters of
whole weights by AdamW. It uses nothing of ``ssah_exp.training`` but the batches that a run is
given.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn

from ssah_exp import ranks
from ssah_exp.config.schema import TrainerConfig, TrainingConfig
from ssah_exp.data.loaders import Batch
from ssah_exp.data.preferences import EncodedPair
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.load import LoadedModel
from ssah_exp.training import module as training_module
from ssah_exp.training.loop import Run, fine_tune, supervised_run
from ssah_exp.training.preference import (
    PreferenceObjective,
    ReferencedBatch,
    preference_loader,
    with_reference,
)
from tests import tiny
from tests.training.planning import masks_of, some_units
from tests.training.resuming import KilledError, killed_at

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EACH, SIZE, SEED, BETA = 3, 3, 3, 0.1
# Ten in batches of three, twice: eight batches, in steps of three, three and two.
EXAMPLES = tiny.conversations(10, seed=5)
# The rate rises over the first two steps and falls from there. Most steps are below the spacing of
# bfloat16, so that without masters they would be lost.
RATE, RATES = 1e-3, (0.5, 1.0, 1.0)
DECAY = 0.1
# Adam's default eps would blow rounding of gradients near zero up to whole steps.
EPS = 1e-3

Weights = dict[str, torch.Tensor]
Make = Callable[[Mapping[str, nn.Parameter], TrainingPlan], Any]


@dataclass(frozen=True)
class Case:
    """One training with accumulation and checkpointing.

    Attributes:
        policy: As in the config.
        share: Of the units, which are selected.
        family: A tiny family.
        dtype: Of the model.
        dpo: Preferences in place of answers.
        optimizer: As in the config.
        neurons: Of a block.
        strategy: Of several ranks, as in the config.
    """

    policy: str = "budget"
    share: float = 0.5
    family: str = "llama_gqa"
    dtype: torch.dtype = torch.bfloat16
    dpo: bool = False
    optimizer: str = "adamw"
    neurons: int = tiny.NEURONS
    strategy: str = "auto"

    def config(self) -> TrainingConfig:
        """Its hyper-parameters."""
        return TrainingConfig(
            epochs=2,
            batch_size=SIZE,
            learning_rate=RATE,
            weight_decay=DECAY,
            warmup_share=0.4,
            gradient_clip=0.5,
            optimizer=self.optimizer,
        )

    def loaded(self) -> LoadedModel:
        """What it starts from."""
        return tiny.tiny_loaded(self.family, dtype=self.dtype, intermediate_size=self.neurons)

    def plan(self, model: PreTrainedModel) -> TrainingPlan:
        """What it may change."""
        return plan_training(model, self.policy, some_units(model, self.share))

    def run(self, loaded: LoadedModel, minutes: float | None = 0.0, **options: Any) -> Run:
        """On as many ranks as there are, with a checkpoint after every step if anywhere.

        ``minutes`` = None: only where a signal ends it.
        """
        trainer = TrainerConfig(
            accelerator="cpu",
            progress=False,
            devices=ranks.count(),
            strategy=self.strategy,
            checkpoint_minutes=minutes,
        )
        options = {"accumulate": EACH, "gradient_checkpointing": True, **options}
        run = replace(supervised_run(loaded, EXAMPLES, self.config(), SEED, trainer), **options)
        if not self.dpo:
            return run
        both = zip(EXAMPLES, EXAMPLES[1:] + EXAMPLES[:1], strict=True)
        pairs = with_reference(loaded, [EncodedPair(good, bad) for good, bad in both], 2)
        return replace(
            run,
            loader_of=lambda: preference_loader(pairs, 0, SIZE, SEED),
            objective=PreferenceObjective(BETA),
        )


CASES = {
    "budget": Case(),
    "budget, biases": Case(family="qwen2"),
    "budget, fused projections": Case(family="phi3"),
    "budget, dpo": Case(dpo=True),
    "budget, eight bits": Case(optimizer="adamw_8bit"),
    "budget, dpo, eight bits": Case(dpo=True, optimizer="adamw_8bit"),
    "freeze": Case("freeze"),
    "freeze, tied, dpo": Case("freeze", family="llama_tied", dpo=True),
    # In float32 masking is the cheaper way where little is frozen: both are taken side by side.
    "freeze few": Case("freeze", 0.1, dtype=torch.float32),
    "freeze few, dpo": Case("freeze", 0.1, dtype=torch.float32, dpo=True),
}

ON_RANKS = {name: CASES[name] for name in ("budget, dpo, eight bits", "freeze")}
SHARDED = {
    f"{name}, sharded": replace(CASES[name], strategy="fsdp2")
    for name in ("budget, biases", "budget, dpo", "freeze", "freeze, tied, dpo")
}

# For bitsandbytes itself: tensors below 4,096 weights have 32-bit states, so the MLP must be wide.
REAL = {
    "eight bits": Case(optimizer="adamw_8bit", neurons=512),
    "dpo, eight bits": Case(dpo=True, optimizer="adamw_8bit", neurons=512),
}


def runnable(names: Iterable[str]) -> list[Any]:
    """Of cases, as a test's parameters: those of :data:`REAL` only where bitsandbytes is there."""
    absent = importlib.util.find_spec("bitsandbytes") is None
    needs = pytest.mark.skipif(absent, reason="needs bitsandbytes")
    return [pytest.param(name, marks=needs if name in REAL else ()) for name in names]


class Keep(pl.Callback):
    """Keeps the masters, which are gone after a training, and counts this process's batches."""

    batches = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: object) -> None:
        self.batches += 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.masters = {name: item.clone() for name, item in pl_module.weights.state().items()}
        self.compact = len(pl_module.weights.compact_modules)


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        weights: Of the whole model, in its dtype.
        masters: Name of a weight -> its trained entries, ``(n,)`` float32.
        losses: Of every batch.
        compact: Layers that were trained as parts.
        batches: That were not done before, by a process that was ended.
    """

    weights: Weights
    masters: Weights
    losses: list[float]
    compact: int = 0
    batches: int = 0


@contextmanager
def calm() -> Iterator[None]:
    """AdamW with another ``eps``, also where bitsandbytes' 8-bit one is asked for."""
    make, names = training_module.make_optimizer, ("bitsandbytes", "bitsandbytes.optim")

    class AdamW8bit(torch.optim.AdamW):
        def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
            super().__init__(params, lr=lr, weight_decay=weight_decay, eps=EPS)

    def made(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
        optimizer = make(parameters, config)
        for group in optimizer.param_groups:
            group["eps"] = EPS
        return optimizer

    package, optim = (ModuleType(name) for name in names)
    package.__spec__ = ModuleSpec(names[0], None)
    package.optim, optim.AdamW8bit = optim, AdamW8bit  # type: ignore[attr-defined]
    before = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.modules.update(zip(names, (package, optim), strict=True))
    training_module.make_optimizer = made  # type: ignore[assignment]
    try:
        yield
    finally:
        training_module.make_optimizer = make
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


def train(case: Case, **options: Any) -> Result:
    """As a run does it."""
    loaded, keep = case.loaded(), Keep()
    plan = case.plan(loaded.model)
    run = case.run(loaded, callbacks={"keep": keep}, **options)
    summary, _ = fine_tune(loaded, run, plan)
    return Result(
        {name: item.detach().clone() for name, item in loaded.model.named_parameters()},
        _by_name(loaded.model, plan, keep.masters),
        summary.losses,
        keep.compact,
        keep.batches,
    )


def _by_name(model: nn.Module, plan: TrainingPlan, state: Weights) -> Weights:
    """Trained entries under the names of the weights that they are entries of."""
    whole = [name for name, _ in model.named_parameters() if name in plan.whole]
    found = {
        name: state.get(f"master/{at}", state[f"weight/{name}"]) for at, name in enumerate(whole)
    }
    for name, item in plan.by_name.items():
        module, _, leaf = name.rpartition(".")
        part = state.get(f"weight/{module}.{'bias_part' if leaf == 'bias' else 'part'}")
        found[name] = item.take(state[f"weight/{name}"]) if part is None else part
    assert {item.dtype for item in found.values()} == {torch.float32}
    return {name: item.flatten() for name, item in found.items()}


@dataclass(frozen=True)
class Mistakes:
    """What the plain training may get wrong, to see whether anybody would notice."""

    masters: bool = True
    equal_batches: bool = False
    clip_frozen_too: bool = False
    half_of_the_rows: bool = False


NONE = Mistakes()


def plain(
    case: Case, make: Make | None = None, mistakes: Mistakes = NONE, parts: int = 1
) -> Result:
    """The same training, written out, on one process.

    Args:
        case: What is trained.
        make: Makes the optimizer of masters by name; None = AdamW.
        mistakes: What it gets wrong.
        parts: Passes a batch takes; a rank rounds what it computes of its own rows alone.
    """
    loaded = case.loaded()
    model, config = loaded.model, case.config()
    plan, steps = case.plan(model), _steps(case.run(loaded))
    masks = {name: mask for name, mask in masks_of(model, plan).items() if mask.any()}
    trained = {name: model.get_parameter(name) for name in masks}
    start = {name: item.detach().clone() for name, item in trained.items()}
    masters = {name: nn.Parameter(item.detach().float()) for name, item in trained.items()}
    optimizer = (make or _adam)(masters, plan)
    losses: list[float] = []
    for rate, step in zip(RATES, steps, strict=True):
        sums, found = _gradients(model, step, trained, mistakes, parts)
        losses += found
        norm = sum(
            float((item if mistakes.clip_frozen_too else item * masks[name]).square().sum())
            for name, item in sums.items()
        )
        for name, master in masters.items():
            shrink = min(1.0, config.gradient_clip / norm**0.5)
            master.grad = shrink * sums[name] * masks[name]
        for group in optimizer.param_groups:
            group["lr"] = rate * config.learning_rate
        optimizer.step()
        for name, item in trained.items():
            with torch.no_grad():
                item.copy_(torch.where(masks[name], masters[name].to(item.dtype), start[name]))
                if not mistakes.masters:
                    masters[name].copy_(item)
    return Result(
        {name: item.detach().clone() for name, item in model.named_parameters()},
        {name: item.detach()[masks[name]] for name, item in masters.items()},
        losses,
    )


def _gradients(
    model: PreTrainedModel, step: list[Any], trained: Weights, mistakes: Mistakes, parts: int
) -> tuple[Weights, list[float]]:
    """Of the mean over all that a step's batches hold; and each batch's loss."""
    sums = {name: torch.zeros_like(item, dtype=torch.float32) for name, item in trained.items()}
    losses, every = [], sum(_size(batch) for batch in step)
    for batch in step:
        size, total = _size(batch), 0.0
        weight = size / every * len(step) if not mistakes.equal_batches else 1.0
        for part in [_part(batch, at, parts) for at in range(min(parts, _rows(batch)))]:
            model.zero_grad()
            loss = _loss(model, part) / size
            (loss * weight / len(step)).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            for name, item in trained.items():
                assert item.grad is not None
                sums[name] += item.grad
            if mistakes.half_of_the_rows:
                break
        losses.append(total)
    return sums, losses


def _part(batch: Any, at: int, parts: int) -> Any:
    """Every so many-th row or pair."""
    if parts == 1:
        return batch
    if isinstance(batch, Batch):
        return batch.rows(slice(at, None, parts))
    return batch.pick(torch.arange(at, _rows(batch), parts))


def _adam(masters: Mapping[str, nn.Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        masters.values(), lr=0.0, weight_decay=DECAY, eps=EPS, foreach=False, fused=False
    )


class OnParts:
    """An optimizer of trained rows and columns cut out by hand, for what is not elementwise."""

    def __init__(
        self,
        masters: Mapping[str, nn.Parameter],
        plan: TrainingPlan,
        make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    ) -> None:
        self._masters, self._slices = masters, plan.by_name
        self._parts = {
            name: nn.Parameter(self._taken(name, item.detach())) for name, item in masters.items()
        }
        self._optimizer = make(list(self._parts.values()))
        self.param_groups = self._optimizer.param_groups

    def _taken(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        item = self._slices.get(name)
        return tensor.clone() if item is None else tensor.index_select(item.dim, item.index)

    @torch.no_grad()
    def step(self) -> None:
        for name, part in self._parts.items():
            grad = self._masters[name].grad
            assert grad is not None
            part.grad = self._taken(name, grad)
        self._optimizer.step()
        for name, part in self._parts.items():
            item = self._slices.get(name)
            if item is None:
                self._masters[name].copy_(part)
            else:
                self._masters[name].index_copy_(item.dim, item.index, part)


def _steps(run: Run) -> list[list[Any]]:
    loader = run.loader_of()
    every, steps = itertools.chain(loader, loader), []
    while step := list(itertools.islice(every, EACH)):
        steps.append(step)
    return steps


def _size(batch: Batch | ReferencedBatch) -> int:
    """Response tokens, or pairs."""
    return int(batch.response_mask[:, 1:].sum()) if isinstance(batch, Batch) else _rows(batch)


def _rows(batch: Batch | ReferencedBatch) -> int:
    """Conversations, or pairs."""
    return len(batch.input_ids) if isinstance(batch, Batch) else len(batch.reference) // 2


def _loss(model: PreTrainedModel, batch: Batch | ReferencedBatch) -> torch.Tensor:
    """Summed over response tokens, or over pairs."""
    if isinstance(batch, Batch):
        return -_log_probabilities(model, batch).sum()
    changes = _log_probabilities(model, batch.pairs.conversations).sum(dim=1) - batch.reference
    chosen, rejected = changes.chunk(2)
    return -F.logsigmoid(BETA * (chosen - rejected)).sum()


def _log_probabilities(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """``(B, T - 1)`` float32, from logits of every position; 0 outside responses."""
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    every = logits[:, :-1].float().log_softmax(-1)
    taken = every.gather(-1, batch.input_ids[:, 1:, None]).squeeze(-1)
    return taken * batch.response_mask[:, 1:]


def distance(case: Case, found: Weights, wanted: Weights) -> float:
    """How far apart two trainings' masters end, in lengths of the way there from the start."""
    model = case.loaded().model
    masks = masks_of(model, case.plan(model))
    apart = way = 0.0
    assert found.keys() == wanted.keys()
    for name, part in wanted.items():
        start = model.get_parameter(name).detach()[masks[name]].float()
        apart += float((found[name] - part).square().sum())
        way += float((part - start).square().sum())
    return (apart / way) ** 0.5


def assert_same_bits(found: Result, wanted: Result) -> None:
    """Weights, the masters, of which weights show a part, and the losses on the way."""
    assert found.losses == wanted.losses
    assert found.weights.keys() == wanted.weights.keys()
    assert found.masters.keys() == wanted.masters.keys()
    for key, item in wanted.weights.items():
        assert torch.equal(found.weights[key], item), key
    for key, item in wanted.masters.items():
        assert torch.equal(found.masters[key], item), key


def on_a_rank(folder: Path) -> None:
    """One of two processes: every case, and what it ended with."""
    torch.set_num_threads(1)
    with ranks.joined(2, 1, cuda=False), calm():
        for name, case in {**ON_RANKS, **SHARDED}.items():
            torch.save(vars(train(case)), folder / f"{name}-{ranks.rank()}.pt")


def on_a_rank_in_eight_bits(folder: Path) -> None:
    """One of two processes: every case with bitsandbytes itself, undisturbed and gone on with."""
    torch.set_num_threads(1)
    with ranks.joined(2, 1, cuda=False):
        for name, case in REAL.items():
            place = folder / f"partial {name}"
            results = {"undisturbed": train(case)}
            with killed_at(EACH + 1), suppress(KilledError):
                train(case, checkpoints=place)
            results["gone on with"] = train(case, checkpoints=place)
            for how, result in results.items():
                torch.save(vars(result), folder / f"{name}, {how}-{ranks.rank()}.pt")
