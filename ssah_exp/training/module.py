"""The one LightningModule: a model, an objective, an optimizer and its schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from ssah_exp import ranks
from ssah_exp.config.schema import TuningConfig
from ssah_exp.errors import ConfigError, ModelError, StoreError
from ssah_exp.models.placement import whole
from ssah_exp.training.eight_bit import missing_optimizer
from ssah_exp.training.objectives import Objective
from ssah_exp.training.replay import Turn
from ssah_exp.training.sharding import ShardedTwin
from ssah_exp.training.tuned import Trainable

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FineTuning(pl.LightningModule):
    """Trains what a plan allows, with any objective.

    What may change is put in by :class:`~ssah_exp.training.policy.UnitPolicy`.

    Args:
        model: A causal language model; trained in place.
        objective: Batch -> loss.
        config: Optimizer, learning rate, weight decay, warm-up.
        steps: Optimizer steps of the whole run, which the schedule spans. Lightning could count
            them, but would then set its loaders up before it restores their position.
        sharding: The twin that ``model`` belongs to, if its weights are to be split over ranks.
    """

    # Checkpoints hold only what is trained.
    strict_loading = False

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        config: TuningConfig,
        steps: int,
        sharding: ShardedTwin | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.config = config
        self.steps = steps
        self.sharding = sharding
        self.losses: list[float] = []
        self.final_loss: float | None = None
        self.target_reached = False
        self.tuned: Trainable | None = None
        self._weight_in_step = 1.0

    @property
    def weights(self) -> Trainable:
        """What is trained; it exists once the policy's callback has set it up."""
        assert self.tuned is not None, "a UnitPolicy callback is needed"
        return self.tuned

    def configure_model(self) -> None:
        """The policy is in place by now: split the model over ranks, if it is to be split."""
        if self.sharding is not None:
            assert self.device_mesh is not None
            self.sharding.shard(self.device_mesh["data_parallel"], self.weights)

    def on_before_batch_transfer(self, batch: Turn, dataloader_idx: int) -> Any:
        """Unwrap what the loader hands out, right before it is trained on."""
        self._weight_in_step = batch.weight
        return batch.batch

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The objective's loss over the batch; each of several ranks computes its own rows of it.

        Raises:
            ModelError: The loss is NaN or infinite, on any rank.
        """
        self.weights.before_batch()
        weight = 1.0
        if ranks.count() > 1:
            batch, weight = self.objective.part(batch, ranks.rank(), ranks.count())
        loss = self.objective.loss(self.model, batch)
        if weight != 1:
            loss = weight * loss
        # Gradients are averaged over ranks, and so is this; the sum's order is that of the ranks.
        over_batch = sum(ranks.everyones(float(loss.detach()))) / ranks.count()
        if not math.isfinite(over_batch):
            raise ModelError(
                f"The training loss is {over_batch} at step {self.global_step}; {self._remedy()}"
            )
        self.losses.append(over_batch)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=1)
        return loss if self._weight_in_step == 1 else self._weight_in_step * loss

    def _remedy(self) -> str:
        """What to do about a loss that is not finite; every rank must call this."""
        if self.global_step > 0:
            return "lower the learning rate."
        before = "nothing was updated before it, so the learning rate is not the reason"
        broken = first_not_finite(self.model)
        if broken is not None:
            return f"{before}. {broken} has NaN or infinite values: take other weights."
        computed_in = self.model.dtype if self.sharding is None else self.sharding.precision
        precision = str(computed_in).removeprefix("torch.")
        return (
            f"{before}. All weights are finite: numbers overflow on their way through the model, "
            f"computed in {precision}; give model.precision=float32, or look at the training data."
        )

    def configure_optimizers(self) -> Any:
        """AdamW with a linear schedule over all steps of the run."""
        optimizer = make_optimizer(self.weights.optimizer_parameters(), self.config)
        steps = self.steps
        warmup = warmup_steps(self.config, steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: linear_schedule(step, warmup, steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Bring gradients to where the optimizer looks: Lightning clips them right after this."""
        if self.sharding is not None:
            self.sharding.average_gradients()
        self.weights.before_step()

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step, then write the result into the weights that the forward pass uses."""
        super().optimizer_step(*arguments, **named)
        self.weights.after_step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained, the losses so far and every rank's random state."""
        if self.sharding is not None:
            self.sharding.reshard()  # a callback may have computed the loss
        checkpoint["state_dict"] = {}
        checkpoint["tuned"] = self.weights.state()
        checkpoint["sharded"] = self.sharding is not None
        checkpoint["losses"] = list(self.losses)
        # Each rank draws for its own rows, and some ranks have more rows.
        checkpoint["rng"] = ranks.everyones(torch.get_rng_state())
        if torch.cuda.is_available():
            checkpoint["cuda_rng"] = ranks.everyones(torch.cuda.get_rng_state())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Undo :meth:`on_save_checkpoint`, except for the weights: their masters are made later.

        Raises:
            StoreError: The checkpoint is of weights that were split over ranks, and these are not;
                or vice versa.
        """
        if checkpoint.get("sharded", False) != (self.sharding is not None):
            raise StoreError(
                "The checkpoint to go on from was written under another trainer.strategy; give the "
                "same one (fsdp2 and others keep different things), or delete the checkpoint."
            )
        self.losses = list(checkpoint["losses"])
        self._resumed = checkpoint

    def on_train_start(self) -> None:
        """Everything exists now: restore the weights and the random state of a resumed run."""
        resumed = self.__dict__.pop("_resumed", None)
        if resumed is None:
            return
        self.weights.load_state(resumed["tuned"])
        own = ranks.rank() % len(resumed["rng"])  # there may have been fewer ranks
        torch.set_rng_state(resumed["rng"][own].cpu())
        if "cuda_rng" in resumed and torch.cuda.is_available():
            torch.cuda.set_rng_state(resumed["cuda_rng"][own].cpu())


def first_not_finite(model: torch.nn.Module) -> str | None:
    """Name of the first parameter with NaN or infinite values; every rank must call this."""
    for name, parameter in model.named_parameters():
        if not bool(whole(parameter.detach()).isfinite().all()):
            return name
    return None


def warmup_steps(config: TuningConfig, steps: int) -> int:
    """Optimizer steps over which the learning rate rises, of ``steps`` in all."""
    return math.ceil(config.warmup_share * steps)


def linear_schedule(step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate: up over ``warmup`` steps, then down to zero at ``total``."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(total - warmup, 1))


def optimizer_of(config: TuningConfig) -> str:
    """Name of the optimizer; alignment has no choice of it."""
    return str(getattr(config, "optimizer", "adamw"))


def make_optimizer(
    parameters: list[torch.nn.Parameter], config: TuningConfig
) -> torch.optim.Optimizer:
    """AdamW, or its 8-bit version from bitsandbytes (extra ``eight-bit``).

    Raises:
        ConfigError: bitsandbytes is needed and not installed.
    """
    arguments: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    name = optimizer_of(config)
    if name == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **arguments)
    if problem := missing_optimizer(name):
        raise ConfigError(problem)
    from bitsandbytes.optim import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, **arguments)
    return optimizer
