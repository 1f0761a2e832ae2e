"""Comparing arms at equal training loss: measure it on fixed examples, stop where it is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch

from ssah_exp import ranks
from ssah_exp.data.batching import longest_first
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Collate
from ssah_exp.data.selection import evenly
from ssah_exp.errors import DataError
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_losses
from ssah_exp.models.modes import evaluating


@torch.no_grad()
def mean_response_loss(
    loaded: LoadedModel,
    examples: Sequence[Encoded],
    batch_size: int,
    at_most: float | None = None,
) -> float:
    """Loss over the examples' response tokens, nats per token, without dropout.

    The loss of single batches is too noisy, and depends on their order, to compare runs by.

    Args:
        loaded: Model and tokenizer.
        examples: Conversations; batches are made of those of like lengths.
        batch_size: Examples per forward pass.
        at_most: Set this to ask only whether the mean is at most this: as soon as it cannot be, no
            further batch is computed, and a lower bound of the mean, above ``at_most``, is
            returned.

    Raises:
        DataError: No example has a response token.
    """
    model, collate = loaded.model, Collate(loaded.speech.pad_id)
    # Nothing precedes a conversation's first token.
    count = sum(len(item.input_ids) - max(item.response_start, 1) for item in examples)
    if not count:
        raise DataError(
            f"A loss over response tokens was asked for, and of {len(examples)} examples none has "
            "any; give conversations with responses."
        )
    total = 0.0
    with evaluating(model):
        for some in longest_first([item.input_ids for item in examples], batch_size):
            batch = collate([examples[at] for at in some]).to(loaded.device)
            losses = token_losses(model, batch.input_ids, batch.attention_mask, batch.response_mask)
            total += float(losses.double().sum())
            # Ranks that share a model's forward passes must all stop after the same one.
            if at_most is not None and ranks.everyones(total / count > at_most)[0]:
                break
    return total / count


def loss_sample(examples: Sequence[Encoded], count: int, styles: int) -> list[Encoded]:
    """Training examples whose mean loss is an arm's training loss, the same for every arm.

    They are evenly spread over each prompt style: styles take turns, so a stride through all
    examples that is a multiple of the number of styles would meet one style only. Examples left out
    for lack of a response have broken the turns; the spread is then as even as they are few.

    Args:
        examples: Encoded conversations, one style after the other in turn.
        count: How many, at most all.
        styles: Number of prompt styles.
    """
    return [
        item
        for first in range(styles)
        for item in evenly(examples[first::styles], len(range(first, count, styles)))
    ]


@dataclass(frozen=True)
class LossMatch:
    """Stop once the training loss is at most ``target``; look every ``every`` steps."""

    target: float
    every: int

    def callback(self, loaded: LoadedModel, examples: Sequence[Encoded], epoch: int) -> pl.Callback:
        """The callback that looks at ``examples``.

        Args:
            loaded: Model and tokenizer.
            examples: What the loss is measured over.
            epoch: Steps of one epoch. The callback looks at least that often: on data of a few
                steps it would otherwise never look, and the arm would silently go unmatched.
        """
        return _StopAtLoss(loaded, examples, replace(self, every=min(self.every, epoch)))


class _StopAtLoss(pl.Callback):
    """Looks once per step, at the end of the batch or at a checkpoint, whichever comes first.

    A checkpoint holds whether the target was reached, so that a run killed right after it stops
    where it would have stopped.
    """

    def __init__(self, loaded: LoadedModel, examples: Sequence[Encoded], match: LossMatch) -> None:
        self._loaded, self._examples, self._match = loaded, examples, match
        self._step, self._reached = 0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        trainer.should_stop = trainer.should_stop or self._reached

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or self._look(trainer.global_step, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.target_reached = self._reached

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["loss_reached"] = self._look(trainer.global_step, pl_module)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        self._step = int(checkpoint["global_step"])
        self._reached = bool(checkpoint.get("loss_reached", False))

    def _look(self, step: int, module: Any) -> bool:
        if step != self._step:
            self._step = step
            if step % self._match.every == 0:
                size = module.config.batch_size
                target = self._match.target
                loss = mean_response_loss(self._loaded, self._examples, size, at_most=target)
                # Rounding may differ between ranks, and all must stop at the same step.
                self._reached = ranks.everyones(loss <= target)[0]
        return self._reached
