"""Collecting statistics: hooks on `o_proj` and `down_proj`, driven by Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import nn

from ssah_exp import ranks
from ssah_exp.data.loaders import Batch
from ssah_exp.errors import UnitError
from ssah_exp.models.anatomy import KINDS, Kind, blocks, output_projection
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import hidden_states
from ssah_exp.units.accumulators import FlapAccumulator, VarianceAccumulator
from ssah_exp.units.examples import ExampleMoments
from ssah_exp.units.moments import Moments, example_moments
from ssah_exp.units.statistics import ChannelStatistics, KindStatistics

Sink = Callable[[Kind, int, torch.Tensor], None]


@contextmanager
def captured_inputs(model: nn.Module, sink: Sink) -> Iterator[None]:
    """Hand every input of every output projection to ``sink(kind, layer, (B, T, C))``.

    The hooks are removed whatever happens inside.
    """
    with ExitStack() as stack:
        for kind in KINDS:
            for layer in range(len(blocks(model))):
                module = output_projection(model, layer, kind)
                handle = module.register_forward_pre_hook(_hook(sink, kind, layer))
                stack.callback(handle.remove)
        yield


def _hook(sink: Sink, kind: Kind, layer: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hand_over(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        sink(kind, layer, inputs[0].detach())

    return hand_over


class StatisticsCollector:
    """Accumulates the statistics of one calibration set, in one pass.

    Several ranks that compute a batch each, in turns, end with what one would have computed: rank
    0 adds every example's moments in the order of the data, so that even `flap`, which depends on
    that order, and every rounding are the same. The other ranks accumulate nothing.

    Args:
        layers: Blocks of the model.
        tokens: ``response`` or ``all``: which positions count.
        keep_examples: Keep every example's moments in memory, too, for :meth:`examples`.
    """

    def __init__(
        self, layers: int, tokens: str = "response", *, keep_examples: bool = False
    ) -> None:
        self._layers = layers
        self._tokens = tokens
        self._kept: dict[tuple[Kind, int], list[Moments]] | None = {} if keep_examples else None
        self._mask: torch.Tensor | None = None
        self._counts = True
        self._turn: list[tuple[Kind, int, Moments]] = []
        self._examples = 0
        keys = [(kind, layer) for kind in KINDS for layer in range(layers)]
        self._variance = {key: VarianceAccumulator() for key in keys}
        self._flap = {key: FlapAccumulator() for key in keys}

    def begin(self, batch: Batch, *, counts: bool = True) -> None:
        """Say which tokens of the coming forward pass count; ``counts`` false: none, see `end`."""
        mask = batch.response_mask if self._tokens == "response" else batch.attention_mask.bool()
        self._mask, self._counts, self._turn = mask, counts, []
        if ranks.count() == 1:
            self._examples += int(mask.any(dim=1).sum())

    def sink(self, kind: Kind, layer: int, activations: torch.Tensor) -> None:
        """Take the input of one output projection, ``(B, T, C)``."""
        if self._mask is None:
            raise RuntimeError("begin() was not called before the forward pass.")
        moments = example_moments(activations, self._mask.to(activations.device))
        if ranks.count() == 1:
            self._add(kind, layer, moments)
        elif self._counts:
            self._turn.append((kind, layer, moments.cpu()))

    def end(self) -> None:
        """The forward pass is over: bring what the ranks saw in this turn together, on rank 0.

        A process on its own has added everything already.
        """
        if ranks.count() == 1:
            return
        assert self._mask is not None
        examples = int(self._mask.any(dim=1).sum()) if self._counts else 0
        for count, moments in ranks.gathered((examples, self._turn)) or ():
            self._examples += count
            for kind, layer, item in moments:
                self._add(kind, layer, item)
        self._turn = []

    def absorb(self, seen: Iterable[tuple[Kind, int, Moments]]) -> None:
        """Add examples that went through the model before, every block's inputs once."""
        for kind, layer, moments in seen:
            if (kind, layer) == (KINDS[0], 0):
                self._examples += int((moments.count > 0).sum())
            self._add(kind, layer, moments)

    def _add(self, kind: Kind, layer: int, moments: Moments) -> None:
        self._variance[kind, layer].update(moments)
        self._flap[kind, layer].update(moments)
        if self._kept is not None:
            self._kept.setdefault((kind, layer), []).append(moments.cpu())

    def examples(self) -> ExampleMoments | None:
        """Moments of every example apart, on CPU; None unless they were kept."""
        return None if self._kept is None else ExampleMoments.of(self._kept, self._layers)

    def moments(self) -> dict[tuple[Kind, int], list[Moments]]:
        """As they were collected, batch by batch.

        Raises:
            RuntimeError: They were not kept.
        """
        if self._kept is None:
            raise RuntimeError("No example's moments were kept.")
        return self._kept

    def result(self) -> ChannelStatistics:
        """Statistics over every batch seen, on CPU."""
        totals = {key: accumulator.result() for key, accumulator in self._variance.items()}
        by_kind: dict[Kind, KindStatistics] = {}
        for kind in KINDS:
            layers = [totals[kind, layer] for layer in range(self._layers)]
            by_kind[kind] = KindStatistics(
                mean=torch.stack([item.mean for item in layers]).cpu(),
                variance=torch.stack([item.variance() for item in layers]).cpu(),
                flap=torch.stack(
                    [self._flap[kind, layer].result() for layer in range(self._layers)]
                ).cpu(),
            )
        tokens = int(totals["attention", 0].count)
        return ChannelStatistics(tokens, self._examples, by_kind)


class CalibrationModule(pl.LightningModule):
    """Runs calibration batches through the decoder; its LM head is never paid for."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self.model = loaded.model

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """One forward pass; callbacks see the activations, nothing is returned."""
        hidden_states(self.model, batch.input_ids, batch.attention_mask)


class UnitStatistics(pl.Callback):
    """Collects channel statistics of each predict dataloader.

    Args:
        batches: By name of each dataloader's set, in order, how many batches all ranks together
            compute of it.
        tokens: ``response`` or ``all``.
        keep_examples: See :class:`StatisticsCollector`.
    """

    def __init__(
        self, batches: Mapping[str, int], tokens: str = "response", *, keep_examples: bool = False
    ) -> None:
        self._names, self._batches = list(batches), list(batches.values())
        self._tokens = tokens
        self._keep_examples = keep_examples
        self._collectors: dict[str, StatisticsCollector] = {}
        self._current: StatisticsCollector | None = None
        self._hooks = ExitStack()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Place the hooks."""
        layers = len(blocks(_model(pl_module)))
        self._collectors = {
            name: StatisticsCollector(layers, self._tokens, keep_examples=self._keep_examples)
            for name in self._names
        }
        self._hooks.enter_context(captured_inputs(_model(pl_module), self._forward))

    def on_predict_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Say which set and which tokens the coming activations belong to."""
        self._current = self._collectors[self._names[dataloader_idx]]
        batches = self._batches[dataloader_idx]
        self._current.begin(batch, counts=ranks.dealt(batches)[batch_idx] is not None)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Exchange what the ranks saw; end here if SIGTERM came, which Lightning swallows."""
        assert self._current is not None
        self._current.end()
        if trainer.received_sigterm:
            raise SIGTERMException

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the hooks."""
        self._hooks.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Remove the hooks also when the pass fails."""
        self._hooks.close()

    def result(self, name: str) -> ChannelStatistics:
        """Checked statistics of one set.

        Raises:
            UnitError: NaN or infinite activations, or fewer than two counted tokens.
        """
        return checked(self._collectors[name].result(), name)

    def examples(self, name: str) -> ExampleMoments | None:
        """Moments of one set's examples apart; None unless they were kept."""
        return self._collectors[name].examples()

    def moments(self, name: str) -> dict[tuple[Kind, int], list[Moments]]:
        """See :meth:`StatisticsCollector.moments`."""
        return self._collectors[name].moments()

    def _forward(self, kind: Kind, layer: int, activations: torch.Tensor) -> None:
        assert self._current is not None
        self._current.sink(kind, layer, activations)


def checked(statistics: ChannelStatistics, name: str) -> ChannelStatistics:
    """Statistics that scores can be made of.

    Raises:
        UnitError: NaN or infinite activations, or fewer than two counted tokens.
    """
    if statistics.tokens < 2:
        raise UnitError(f"{name}: {statistics.tokens} counted token; a variance needs two.")
    statistics.check_finite(name)
    return statistics


def _model(module: pl.LightningModule) -> nn.Module:
    model = module.model
    assert isinstance(model, nn.Module)
    return model
