"""Comparing arms at equal training loss: measure it on fixed examples, stop where it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Collate
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_losses


@torch.no_grad()
def mean_response_loss(loaded: LoadedModel, examples: Sequence[Encoded], batch_size: int) -> float:
    """Loss over the examples' response tokens, nats per token, without dropout.

    The loss of single batches is too noisy, and depends on their order, to compare runs by.
    """
    model, collate = loaded.model, Collate(loaded.speech.pad_id)
    training = model.training
    torch.nn.Module.eval(model)
    total, count = 0.0, 0
    for start in range(0, len(examples), batch_size):
        batch = collate(examples[start : start + batch_size]).to(loaded.device)
        losses = token_losses(model, batch.input_ids, batch.attention_mask, batch.response_mask)
        total, count = total + float(losses.double().sum()), count + losses.numel()
    model.train(training)
    return total / count


@dataclass(frozen=True)
class LossMatch:
    """Stop once the training loss is at most ``target``; look every ``every`` steps."""

    target: float
    every: int

    def callback(self, loaded: LoadedModel, examples: Sequence[Encoded]) -> pl.Callback:
        """The callback that looks at ``examples``."""
        return _StopAtLoss(loaded, examples, self)


class _StopAtLoss(pl.Callback):
    def __init__(self, loaded: LoadedModel, examples: Sequence[Encoded], match: LossMatch) -> None:
        self._loaded, self._examples, self._match = loaded, examples, match

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step and trainer.global_step % self._match.every == 0:
            size = pl_module.config.batch_size
            loss = mean_response_loss(self._loaded, self._examples, size)
            trainer.should_stop = trainer.should_stop or loss <= self._match.target
