"""Fine-tuning a loaded model in place: plan, objective, resume, certificate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch.utils.data import DataLoader

from ssah_exp import ranks
from ssah_exp.config.schema import AlignmentConfig, TrainerConfig, TuningConfig
from ssah_exp.config.trainer import shards
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import training_loader
from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.lightning import ended_by_signals, make_trainer
from ssah_exp.models.device import move
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.recomputing import recomputing
from ssah_exp.training.adapters.adapter import Adapter
from ssah_exp.training.certificate import Certificate, Witness, digest_tensors
from ssah_exp.training.matching import LossMatch, mean_response_loss
from ssah_exp.training.module import FineTuning, warmup_steps
from ssah_exp.training.objectives import Objective, SupervisedObjective
from ssah_exp.training.policy import UnitPolicy
from ssah_exp.training.replay import ReplayedBatches
from ssah_exp.training.resume import Checkpoints, checkpoint_in
from ssah_exp.training.sharding import ShardedStrategy, ShardedTwin
from ssah_exp.training.tracking import Tracking
from ssah_exp.training.watching import Watched, watched_by


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run did.

    Attributes:
        examples: Conversations trained on per epoch.
        steps: Batches trained on.
        epochs: ``steps`` in passes over the data.
        first_loss: Mean loss over the first tenth of the batches, nats per response token (SFT).
        final_loss: The same over the last tenth.
        train_loss: Loss of the trained model over a fixed sample of the training examples, nats
            per response token, by which arms are compared. None where the sample is empty.
        losses: Loss of every batch.
        track: Where the units of each class went, look by look
            (:meth:`~ssah_exp.training.tracking.UnitTracking.flows`); None = not tracked.
        track_overhead: What tracking cost
            (:meth:`~ssah_exp.training.tracking.UnitTracking.overhead`).
        watched: What callbacks of the user's own found, by their names.
        reached: Whether the last look found the loss to match although ``train_loss``, which is
            measured after an adapter was merged, lies above it.
    """

    examples: int
    steps: int
    epochs: float
    first_loss: float
    final_loss: float
    train_loss: float | None = None
    losses: list[float] = field(default_factory=list)
    track: list[dict[str, Any]] | None = None
    track_overhead: float | None = None
    watched: dict[str, Watched] = field(default_factory=dict)
    reached: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values that an identical training would repeat: not what tracking cost.

        ``track`` is left out if nothing was tracked, ``watched`` if no callback found anything,
        and ``reached`` where it is false.
        """
        content = asdict(self)
        del content["track_overhead"]
        if self.track is None:
            del content["track"]
        if not self.watched:
            del content["watched"]
        if not self.reached:
            del content["reached"]
        return content


@dataclass(frozen=True)
class Run:
    """What to train on and how; everything a run takes besides its model.

    Attributes:
        loader_of: Makes the training loader; its order follows from a seed alone.
        examples: Conversations per epoch.
        config: Hyper-parameters.
        seed: Decides the order of examples and any dropout.
        trainer: Accelerator and progress bars.
        objective: What is minimised.
        epochs: Passes over the data; None = ``config.epochs``.
        accumulate: Batches per optimizer step.
        gradient_checkpointing: Recompute activations in the backward pass.
        checkpoints: Folder to save to and resume from; None = a killed run starts over.
        sample: Examples over which ``train_loss`` is measured.
        match: Loss at which to stop early, and how often to look.
        track: Follow the classes of units; None = do not.
        callbacks: The user's own, by name; made for this run.
    """

    loader_of: Callable[[], DataLoader[Any]]
    examples: int
    config: TuningConfig
    seed: int
    trainer: TrainerConfig
    objective: Objective = field(default_factory=SupervisedObjective)
    epochs: int | None = None
    accumulate: int = 1
    gradient_checkpointing: bool = False
    checkpoints: Path | None = None
    sample: Sequence[Encoded] = ()
    match: LossMatch | None = None
    track: Tracking | None = None
    callbacks: Mapping[str, pl.Callback] = field(default_factory=dict)


def supervised_run(
    loaded: LoadedModel,
    examples: Sequence[Encoded],
    config: TuningConfig,
    seed: int,
    trainer: TrainerConfig,
) -> Run:
    """A :class:`Run` of supervised fine-tuning on ``examples``, in batches of ``config``'s size.

    Its other fields have their defaults; ``dataclasses.replace`` gives others.
    """
    loader_of = partial(training_loader, examples, loaded.speech.pad_id, config.batch_size, seed)
    return Run(loader_of, len(examples), config, seed, trainer)


def fine_tune(
    loaded: LoadedModel,
    run: Run,
    plan: TrainingPlan | None = None,
    adapter: Adapter | None = None,
) -> tuple[TrainingSummary, Certificate]:
    """Train ``loaded.model`` in place and prove that only what may change did.

    Args:
        loaded: Model and tokenizer.
        run: Data and hyper-parameters.
        plan: What may change; None = everything.
        adapter: What is trained in place of the weights; of ``plan`` it keeps what
            ``adapter.plan`` says. In the end it is merged, or stays attached to the model.

    Raises:
        ConfigError: The warm-up or a step's batches are more than the data gives, a library is not
            installed, or a device has not enough memory.
        ModelError: The loss or a weight is not finite, a frozen bit moved, nothing changed, the
            adapter does not go with the model or the plan, or ranks ended with different weights.
        StoreError: The checkpoint to resume from is damaged or of another strategy, or one cannot
            be written.
        SystemExit: The scheduler asked the process to end; a checkpoint was saved, if there is a
            folder for it.
        KeyboardInterrupt: A person asked, likewise.
    """
    model = loaded.model
    plan = plan or plan_training(model, "none", None)
    if adapter is not None:
        plan = adapter.plan(model, plan)
    # One proof is enough: ranks end with the same weights, which is checked.
    witness = Witness(model, plan) if ranks.first() else None
    tracker = None if run.track is None else run.track.callback(loaded)
    watching = [*([] if tracker is None else [tracker]), *run.callbacks.values()]
    module = _fit(loaded, run, plan, adapter, watching)
    certificate = ranks.from_first(
        lambda: (
            None if witness is None else witness.certify(model, module.weights.attached_values())
        )
    )
    assert certificate is not None
    if ranks.count() > 1:
        _check_replicas(model, module)
    summary = replace(_summary(loaded, run, module), watched=watched_by(run.callbacks))
    if tracker is not None:
        summary = replace(summary, track=tracker.flows(), track_overhead=tracker.overhead())
    return summary, certificate


def _check_replicas(model: torch.nn.Module, module: FineTuning) -> None:
    """Refuse weights that differ between ranks: nobody could say which are the result.

    Raises:
        ModelError: They differ.
    """
    trained = [item.detach() for item in model.parameters()]
    beside = [after for _, after in module.weights.attached_values().values()]
    ranks.check_equal(
        digest_tensors([*trained, *beside]),
        lambda _: ModelError("Processes ended with different weights. The result is not used."),
    )


def _fit(
    loaded: LoadedModel,
    run: Run,
    plan: TrainingPlan,
    adapter: Adapter | None,
    watching: Sequence[pl.Callback],
) -> FineTuning:
    pl.seed_everything(run.seed, workers=True, verbose=False)
    epochs = run.epochs or run.config.epochs
    batches = ReplayedBatches(run.loader_of, epochs, run.accumulate, run.objective.size)
    steps = math.ceil(len(batches) / run.accumulate)
    check_lengths(run.config, len(batches), run.accumulate)
    twin = ShardedTwin(loaded.model) if shards(run.trainer) else None
    trained = loaded if twin is None else replace(loaded, model=twin.model)
    module = FineTuning(trained.model, run.objective, run.config, steps, twin)
    # Masking needs hooks on parameters, which splitting replaces.
    policy = UnitPolicy(plan, "auto" if twin is None else "compact", adapter)
    callbacks: list[pl.Callback] = [policy, *watching]
    if run.match is not None:
        callbacks.append(run.match.callback(trained, run.sample, math.ceil(steps / epochs)))
    checkpoints = None
    if run.checkpoints is not None:
        checkpoints = Checkpoints(run.checkpoints, run.trainer.checkpoint_minutes)
        callbacks.append(checkpoints)
    if twin is not None:
        callbacks.append(_GatherAtEnd(trained, twin, run))
    trainer = _trainer(run, callbacks, loaded.device)
    ending = nullcontext() if checkpoints is None else checkpoints.interruptible()
    recompute = recomputing(trained.model, run.gradient_checkpointing)
    trained.model.train()
    with _at_rest_afterwards(loaded), ended_by_signals(), policy, recompute, ending:
        with _enough_memory(run):
            trainer.fit(
                module, batches, ckpt_path=checkpoint_in(run.checkpoints), weights_only=True
            )
        if checkpoints is not None:
            checkpoints.end_if_asked()
    _let_go_of_optimizers(trainer)
    return module


def _trainer(run: Run, callbacks: list[pl.Callback], device: torch.device) -> pl.Trainer:
    return make_trainer(
        run.trainer,
        callbacks,
        device=device,
        strategy=_strategy(run.trainer),
        max_epochs=1,  # the batches of all epochs are one sequence
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=run.config.gradient_clip or None,
        use_distributed_sampler=False,
    )


def _let_go_of_optimizers(trainer: pl.Trainer) -> None:
    """Free masters, their gradients and the optimizer's states once a fit is over.

    The module holds its trainer, and that them: they would lie in memory while the weights are
    certified, the loss is measured and the model is written.
    """
    strategy = trainer.strategy
    strategy.optimizers, strategy.lr_scheduler_configs = [], []


@contextmanager
def _at_rest_afterwards(loaded: LoadedModel) -> Iterator[None]:
    """However training ends, put the model back where it was, in eval mode, without gradients."""
    device = loaded.device
    try:
        yield
    finally:
        move(loaded.model, device)
        torch.nn.Module.eval(loaded.model)
        loaded.model.zero_grad(set_to_none=True)


@contextmanager
def _enough_memory(run: Run) -> Iterator[None]:
    """Where a device runs out of memory, say what would take less.

    Raises:
        ConfigError: A device ran out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ConfigError(f"{str(error).splitlines()[0]} {_what_takes_less(run)}") from error


def _what_takes_less(run: Run) -> str:
    if isinstance(run.config, AlignmentConfig):
        return "Give a smaller alignment.batch_size or alignment.max_length."
    recompute, prefix = "+training.gradient_checkpointing=true", "unless an arm trains a prefix"
    if run.config.batch_size == 1:
        shorter = "a smaller training.max_length."
        ways = shorter if run.gradient_checkpointing else f"{recompute}, {prefix}, or {shorter}"
        return f"Give {ways}"
    batches = "Give a smaller training.batch_size and as many times more +training.accumulate"
    return f"{batches}." if run.gradient_checkpointing else f"{batches}, or, {prefix}, {recompute}."


def check_lengths(config: TuningConfig, batches: int, accumulate: int) -> None:
    """Refuse a schedule or a step that is longer than the data.

    Args:
        config: Hyper-parameters.
        batches: Over all epochs.
        accumulate: Batches per optimizer step.

    Raises:
        ConfigError: A step needs more batches than there are, or the warm-up takes all steps.
    """
    if accumulate > batches:
        raise ConfigError(
            f"training.accumulate={accumulate}: there are no more than {batches} batches in "
            "all epochs. Give fewer, or a smaller training.batch_size."
        )
    group = "alignment" if isinstance(config, AlignmentConfig) else "training"
    steps = math.ceil(batches / accumulate)
    warmup = warmup_steps(config, steps)
    if 1 < steps <= warmup:
        raise ConfigError(
            f"{group}.warmup_share={config.warmup_share:g} of {steps} steps is {warmup}: the "
            "learning rate would rise to the end. Give a smaller share, or more data or epochs."
        )


def _strategy(config: TrainerConfig) -> Strategy | None:
    if ranks.count() == 1:
        return None
    if shards(config):
        return ShardedStrategy(ranks.count())
    return DDPStrategy(gradient_as_bucket_view=True)


class _GatherAtEnd(pl.Callback):
    """Measures the loss while the shards are still where they compute, then puts them together."""

    def __init__(self, trained: LoadedModel, twin: ShardedTwin, run: Run) -> None:
        self._trained, self._twin, self._run = trained, twin, run

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._run.sample:
            size = self._run.config.batch_size
            pl_module.final_loss = mean_response_loss(self._trained, self._run.sample, size)
        self._twin.gather()


def _summary(loaded: LoadedModel, run: Run, module: FineTuning) -> TrainingSummary:
    losses, measured = module.losses, module.final_loss
    tenth = max(1, len(losses) // 10)
    per_epoch = len(run.loader_of())
    if measured is None and run.sample:
        measured = mean_response_loss(loaded, run.sample, run.config.batch_size)
    above = run.match is not None and measured is not None and measured > run.match.target
    return TrainingSummary(
        examples=run.examples,
        steps=len(losses),
        epochs=len(losses) / per_epoch,
        first_loss=math.fsum(losses[:tenth]) / tenth,
        final_loss=math.fsum(losses[-tenth:]) / tenth,
        train_loss=measured,
        losses=losses,
        reached=above and module.target_reached,
    )
