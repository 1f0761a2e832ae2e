"""Fine-tuning a loaded model in place: plan, objective, resume, certificate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from ssah_exp.config.schema import TrainerConfig, TuningConfig
from ssah_exp.config.trainer import make_trainer
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import training_loader
from ssah_exp.interventions.plan import TrainingPlan, plan_training
from ssah_exp.models.load import LoadedModel, move
from ssah_exp.training.adapters.adapter import Adapter
from ssah_exp.training.certificate import Certificate, Witness
from ssah_exp.training.matching import LossMatch, mean_response_loss
from ssah_exp.training.module import FineTuning
from ssah_exp.training.objectives import Objective, SupervisedObjective
from ssah_exp.training.policy import UnitPolicy
from ssah_exp.training.resume import Checkpoints, ReplayedBatches, checkpoint_in
from ssah_exp.training.tracking import Tracking


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
            per response token; what arms are compared by. None where there are no examples.
        losses: Of every batch.
        track: Where the units of each class went, look by look
            (:meth:`~ssah_exp.training.tracking.UnitTracking.flows`); None = nobody looked.
    """

    examples: int
    steps: int
    epochs: float
    first_loss: float
    final_loss: float
    train_loss: float | None = None
    losses: list[float] = field(default_factory=list)
    track: list[dict[str, Any]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; without ``track`` where nobody looked."""
        content = asdict(self)
        if self.track is None:
            del content["track"]
        return content


@dataclass(frozen=True)
class Run:
    """What to train on and how; everything a run takes beside its model.

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
        checkpoints: Folder to save to and go on from; None = a killed run starts over.
        probe: Examples over which ``train_loss`` is measured.
        match: Loss at which to stop early, and how often to look.
        track: Follow the classes of units; None = do not.
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
    probe: Sequence[Encoded] = ()
    match: LossMatch | None = None
    track: Tracking | None = None


def supervised_run(
    loaded: LoadedModel,
    examples: Sequence[Encoded],
    config: TuningConfig,
    seed: int,
    trainer: TrainerConfig,
    **more: Any,
) -> Run:
    """A :class:`Run` of supervised fine-tuning on ``examples``; ``more`` are its other fields."""

    def loader() -> DataLoader[Any]:
        return training_loader(examples, loaded.speech.pad_id, config.batch_size, seed)

    return Run(loader, len(examples), config, seed, trainer, **more)


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
        ModelError: The loss is not finite, a frozen bit moved, nothing changed, or the adapter
            does not go with the model or the plan.
        SystemExit: The scheduler asked the process to end; a checkpoint was saved.
        KeyboardInterrupt: A person did.
    """
    model = loaded.model
    plan = plan or plan_training(model, "none", None)
    if adapter is not None:
        plan = adapter.plan(model, plan)
    witness = Witness(model, plan)
    tracker = None if run.track is None else run.track.callback(loaded)
    module = _fit(loaded, run, plan, adapter, [] if tracker is None else [tracker])
    certificate = witness.certify(model, module.weights.beside())
    summary = _summary(loaded, run, module.losses)
    return summary if tracker is None else replace(summary, track=tracker.flows()), certificate


def _fit(
    loaded: LoadedModel,
    run: Run,
    plan: TrainingPlan,
    adapter: Adapter | None,
    watching: Sequence[pl.Callback],
) -> FineTuning:
    pl.seed_everything(run.seed, workers=True, verbose=False)
    device = loaded.device
    batches = ReplayedBatches(run.loader_of, run.epochs or run.config.epochs)
    steps = math.ceil(len(batches) / run.accumulate)
    module = FineTuning(loaded.model, run.objective, run.config, steps)
    policy = UnitPolicy(plan, adapter=adapter)
    callbacks: list[pl.Callback] = [policy, *watching]
    if run.checkpoints is not None:
        callbacks.append(Checkpoints(run.checkpoints, run.trainer.checkpoint_minutes))
    if run.match is not None:
        callbacks.append(run.match.callback(loaded, run.probe))
    trainer = make_trainer(
        run.trainer,
        callbacks,
        max_epochs=1,  # the batches of all epochs are one sequence
        accumulate_grad_batches=run.accumulate,
        gradient_clip_val=run.config.gradient_clip or None,
        use_distributed_sampler=False,
    )
    loaded.model.train()
    try:
        with policy, _recomputing(loaded, run.gradient_checkpointing):
            trainer.fit(
                module, batches, ckpt_path=checkpoint_in(run.checkpoints), weights_only=True
            )
    except SIGTERMException as error:
        raise SystemExit(143) from error  # the exit code of a process that SIGTERM ended
    except SystemExit as error:  # what Lightning makes of Ctrl+C
        raise KeyboardInterrupt from error
    finally:
        move(loaded.model, device)
        torch.nn.Module.eval(loaded.model)
        loaded.model.zero_grad(set_to_none=True)
    return module


@contextmanager
def _recomputing(loaded: LoadedModel, wanted: bool) -> Iterator[None]:
    """Gradient checkpointing for as long as the block lasts."""
    if not wanted:
        yield
        return
    loaded.model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        loaded.model.gradient_checkpointing_disable()  # type: ignore[no-untyped-call]


def _summary(loaded: LoadedModel, run: Run, losses: list[float]) -> TrainingSummary:
    tenth = max(1, len(losses) // 10)
    per_epoch = len(run.loader_of())
    probed = mean_response_loss(loaded, run.probe, run.config.batch_size) if run.probe else None
    return TrainingSummary(
        examples=run.examples,
        steps=len(losses),
        epochs=len(losses) / per_epoch,
        first_loss=sum(losses[:tenth]) / tenth,
        final_loss=sum(losses[-tenth:]) / tenth,
        train_loss=probed,
        losses=losses,
    )
