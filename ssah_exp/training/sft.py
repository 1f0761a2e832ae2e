"""Supervised fine-tuning on response tokens: how the unaligned model becomes the aligned one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from ssah_exp.config.schema import AlignmentConfig, TrainerConfig
from ssah_exp.config.trainer import make_trainer
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Batch, ConversationData
from ssah_exp.errors import ModelError
from ssah_exp.models.load import LoadedModel, move
from ssah_exp.models.logits import token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run did.

    Attributes:
        examples: Conversations trained on per epoch.
        steps: Optimizer steps.
        first_loss: Mean loss over the first tenth of the steps, nats per response token.
        final_loss: The same over the last tenth.
    """

    examples: int
    steps: int
    first_loss: float
    final_loss: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class SupervisedFineTuning(pl.LightningModule):
    """Next-token loss over response tokens, AdamW, linear warm-up and decay.

    Args:
        model: A causal language model; trained in place.
        config: Learning rate, weight decay, warm-up.
    """

    def __init__(self, model: PreTrainedModel, config: AlignmentConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.losses: list[float] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Mean loss over the batch's response tokens, in nats."""
        losses = token_losses(
            self.model, batch.input_ids, batch.attention_mask, batch.response_mask
        )
        loss = losses.mean()
        if not torch.isfinite(loss):
            raise ModelError(
                f"The training loss is {float(loss)} at step {self.global_step}; "
                "lower alignment.learning_rate."
            )
        self.losses.append(float(loss.detach()))
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW with a schedule over all steps of the run."""
        optimizer = torch.optim.AdamW(
            [weight for weight in self.model.parameters() if weight.requires_grad],
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = math.ceil(self.config.warmup_share * steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: linear_schedule(step, warmup, steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def linear_schedule(step: int, warmup: int, total: int) -> float:
    """Factor on the learning rate: up over ``warmup`` steps, then down to zero at ``total``."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (total - step) / max(total - warmup, 1))


def fine_tune(
    loaded: LoadedModel,
    examples: Sequence[Encoded],
    config: AlignmentConfig,
    seed: int,
    trainer_config: TrainerConfig,
) -> TrainingSummary:
    """Train ``loaded.model`` in place.

    Args:
        loaded: Model and tokenizer.
        examples: Conversations; only response tokens carry loss.
        config: Hyper-parameters.
        seed: Decides the order of examples.
        trainer_config: Accelerator and progress bars.

    Raises:
        ModelError: The loss is not finite.
    """
    pl.seed_everything(seed, workers=True, verbose=False)
    device = loaded.device
    module = SupervisedFineTuning(loaded.model, config)
    data = ConversationData(loaded.speech.pad_id, config.batch_size, seed, train=examples)
    trainer = make_trainer(
        trainer_config,
        [],
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip or None,
        use_distributed_sampler=False,
    )
    loaded.model.train()
    trainer.fit(module, datamodule=data)
    move(loaded.model, device)
    torch.nn.Module.eval(loaded.model)
    loaded.model.zero_grad(set_to_none=True)
    tenth = max(1, len(module.losses) // 10)
    return TrainingSummary(
        examples=len(examples),
        steps=len(module.losses),
        first_loss=sum(module.losses[:tenth]) / tenth,
        final_loss=sum(module.losses[-tenth:]) / tenth,
    )
