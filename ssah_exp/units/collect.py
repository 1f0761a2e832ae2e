"""Collecting statistics: hooks on `o_proj` and `down_proj`, driven by Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import nn

from ssah_exp import ranks
from ssah_exp.data.loaders import Batch
from ssah_exp.errors import UnitError
from ssah_exp.models.anatomy import blocks, output_projection
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.sizes import KINDS, Kind
from ssah_exp.units.accumulators import FlapAccumulator, VarianceAccumulator
from ssah_exp.units.examples import ExampleMoments
from ssah_exp.units.moments import Counted, Moments, Scratch, example_moments
from ssah_exp.units.ordering import InOrder
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

    Several ranks compute one batch each per turn and end with what a single one would have
    computed: rank 0 adds every batch's moments in the same order, so that all rounding is the same.
    The other ranks accumulate nothing. `flap`, which depends on the order of examples, and the
    examples that are kept follow the order of the data, whatever order batches come in.

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
        self._counted: Counted | None = None
        self._scratch = Scratch()
        self._positions: list[int] = []
        self._begun = 0
        self._counts = True
        self._turn: list[tuple[Kind, int, Moments]] = []
        self._examples = 0
        keys = [(kind, layer) for kind in KINDS for layer in range(layers)]
        self._in_order = {key: InOrder() for key in keys}
        self._variance = {key: VarianceAccumulator() for key in keys}
        self._flap = {key: FlapAccumulator() for key in keys}

    def begin(
        self, batch: Batch, positions: Sequence[int] | None = None, *, counts: bool = True
    ) -> None:
        """Say which tokens of the coming forward pass count.

        Args:
            batch: What is going to be computed.
            positions: Positions of its examples in the data; None = directly after those of the
                previous batch.
            counts: False in a turn for which this rank has no batch of its own left: it computes
                only to stay in step with the others, see `end`.
        """
        mask = batch.response_mask if self._tokens == "response" else batch.attention_mask.bool()
        self._counted, self._counts, self._turn = Counted.of(mask), counts, []
        following = range(self._begun, self._begun + len(mask))
        self._positions = list(following if positions is None else positions)
        self._begun += len(mask)
        if ranks.count() == 1:
            self._examples += int(mask.any(dim=1).sum())

    def sink(self, kind: Kind, layer: int, activations: torch.Tensor) -> None:
        """Take the input of one output projection, ``(B, T, C)`` of any float dtype.

        Raises:
            RuntimeError: Nobody said which tokens count.
        """
        if self._counted is None:
            raise RuntimeError("begin() was not called before the forward pass.")
        counted = self._counted.to(activations.device)
        moments = example_moments(activations, counted, self._scratch)
        if ranks.count() == 1:
            self._add(kind, layer, self._positions, moments)
        elif self._counts:
            self._turn.append((kind, layer, moments.cpu()))

    def end(self) -> None:
        """The forward pass is over: gather on rank 0 what the ranks saw in this turn.

        A process on its own has added everything already.
        """
        if ranks.count() == 1:
            return
        assert self._counted is not None
        examples = int(self._counted.mask.any(dim=1).sum()) if self._counts else 0
        seen = (examples, self._positions, self._turn)
        for count, positions, turn in ranks.gathered(seen) or ():
            self._examples += count
            for kind, layer, item in turn:
                self._add(kind, layer, positions, item)
        self._turn = []

    def absorb(self, seen: Iterable[tuple[Kind, int, Moments]]) -> None:
        """Add examples that went through the model earlier.

        Args:
            seen: Each kind and block once, with the moments of all examples in data order.
        """
        begun = self._begun
        for kind, layer, moments in seen:
            if (kind, layer) == (KINDS[0], 0):
                self._examples += int((moments.count > 0).sum())
                self._begun += len(moments.count)
            self._add(kind, layer, range(begun, begun + len(moments.count)), moments)

    def _add(self, kind: Kind, layer: int, positions: Sequence[int], moments: Moments) -> None:
        self._variance[kind, layer].update(moments)
        in_order = self._in_order[kind, layer].add(positions, moments)
        if in_order is None:
            return
        self._flap[kind, layer].update(in_order)
        if self._kept is not None:
            self._kept.setdefault((kind, layer), []).append(in_order.cpu())

    def examples(self) -> ExampleMoments | None:
        """Each example's own moments, on CPU; None unless they were kept."""
        return None if self._kept is None else ExampleMoments.of(self._kept, self._layers)

    def moments(self) -> dict[tuple[Kind, int], list[Moments]]:
        """By kind and block, the kept moments on CPU, in chunks that follow the order of the data.

        Raises:
            RuntimeError: They were not kept.
        """
        if self._kept is None:
            raise RuntimeError("No example's moments were kept.")
        return self._kept

    def result(self) -> ChannelStatistics:
        """Statistics over every batch seen, on CPU.

        Raises:
            RuntimeError: No batch was seen, as on every rank but 0.
        """
        # Layers of a model on several cards left theirs on as many: nothing can be stacked there.
        totals = {key: item.result().cpu() for key, item in self._variance.items()}
        flap = {key: item.result().cpu() for key, item in self._flap.items()}
        by_kind: dict[Kind, KindStatistics] = {}
        for kind in KINDS:
            layers = [(kind, layer) for layer in range(self._layers)]
            by_kind[kind] = KindStatistics(
                mean=torch.stack([totals[key].mean for key in layers]),
                variance=torch.stack([totals[key].variance() for key in layers]),
                flap=torch.stack([flap[key] for key in layers]),
            )
        tokens = int(totals["attention", 0].count)
        return ChannelStatistics(tokens, self._examples, by_kind)


class CalibrationModule(pl.LightningModule):
    """Runs calibration batches through the decoder; the LM head is never computed."""

    def __init__(self, loaded: LoadedModel) -> None:
        super().__init__()
        self.model = loaded.model

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """One forward pass; callbacks see the activations, nothing is returned."""
        hidden_states(self.model, batch.input_ids, batch.attention_mask)


class UnitStatistics(pl.Callback):
    """Collects channel statistics of each predict dataloader.

    Args:
        batches: By name of the set, in the order of the dataloaders: the positions of the examples
            in each batch, over all ranks (:func:`~ssah_exp.data.batching.like_lengths`).
        tokens: ``response`` or ``all``.
        keep_examples: See :class:`StatisticsCollector`.
    """

    def __init__(
        self,
        batches: Mapping[str, Sequence[Sequence[int]]],
        tokens: str,
        *,
        keep_examples: bool,
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
        number = ranks.dealt(len(batches))[batch_idx]
        self._current.begin(batch, batches[number or 0], counts=number is not None)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Gather what the ranks saw; end here after a SIGTERM, which Lightning would swallow."""
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
        """Remove the hooks when the pass fails, too."""
        self._hooks.close()

    def result(self, name: str) -> ChannelStatistics:
        """Checked statistics of one set, on rank 0.

        Raises:
            UnitError: NaN or infinite activations, or fewer than two counted tokens.
        """
        return checked_statistics(self._collectors[name].result(), name)

    def examples(self, name: str) -> ExampleMoments | None:
        """The own moments of each of a set's examples; None unless they were kept."""
        return self._collectors[name].examples()

    def moments(self, name: str) -> dict[tuple[Kind, int], list[Moments]]:
        """See :meth:`StatisticsCollector.moments`."""
        return self._collectors[name].moments()

    def _forward(self, kind: Kind, layer: int, activations: torch.Tensor) -> None:
        assert self._current is not None
        self._current.sink(kind, layer, activations)


def checked_statistics(statistics: ChannelStatistics, name: str) -> ChannelStatistics:
    """The same statistics, once it is sure that scores can be made of them.

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
