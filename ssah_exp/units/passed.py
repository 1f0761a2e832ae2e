"""Conversations that have gone through a model, each once, for any number of calibration sets.

Sets of an atlas overlap: two draws of one source, a draw and the pool it is a part of. What a set
says about the model follows from the moments of its examples, so an example is never run twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from ssah_exp.config.schema import TrainerConfig, UnitsConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sizes import KINDS, Kind
from ssah_exp.units.collect import StatisticsCollector, checked_statistics
from ssah_exp.units.examples import ExampleMoments
from ssah_exp.units.identify import collect
from ssah_exp.units.moments import Moments, joined
from ssah_exp.units.statistics import ChannelStatistics

_Key = tuple[Kind, int]


class PassedExamples:
    """The moments of every conversation seen so far, 16 bytes a channel and example in memory.

    Args:
        model: Fetches the model; it is not kept, since something else may want the room meanwhile.
        layers: Its number of blocks.
        trainer: Accelerator and progress bars.

    Attributes:
        sequences: Conversations that went through the model.
    """

    def __init__(
        self, model: Callable[[], LoadedModel], layers: int, trainer: TrainerConfig
    ) -> None:
        self._model, self._layers, self._trainer = model, layers, trainer
        self._passes: list[dict[_Key, Moments]] = []  # joined, leading dimension = examples
        self._row: dict[tuple[Encoded, str], int] = {}  # row number, counted over all passes
        self.sequences = 0

    def unseen(self, items: Sequence[Encoded], tokens: str) -> list[Encoded]:
        """The conversations that have not gone through the model yet, each once, in order."""
        return [item for item in dict.fromkeys(items) if (item, tokens) not in self._row]

    def of(
        self, name: str, items: Sequence[Encoded], units: UnitsConfig
    ) -> tuple[ChannelStatistics, ExampleMoments]:
        """Statistics over a set, and its examples' moments; what is unseen is run first.

        Args:
            name: Name of the set, for messages.
            items: The set; the statistic `flap` depends on its order.
            units: Which tokens count; batch size.

        Raises:
            UnitError: NaN or infinite activations, or fewer than two counted tokens.
        """
        if new := self.unseen(items, units.tokens):
            self._run(name, new, units)
        rows = _Rows(self._passes, [self._row[item, units.tokens] for item in items])
        collector = StatisticsCollector(self._layers, units.tokens)
        collector.absorb((kind, layer, rows[kind, layer][0]) for kind, layer in rows)
        examples = ExampleMoments.of(rows, self._layers)
        return checked_statistics(collector.result(), name), examples

    def _run(self, name: str, items: Sequence[Encoded], units: UnitsConfig) -> None:
        found = collect(self._model(), {name: items}, units, self._trainer, keep_examples=True)
        kept = found.moments(name)
        self._passes.append({key: joined(batches) for key, batches in kept.items()})
        for item in items:
            self._row[item, units.tokens] = self.sequences
            self.sequences += 1


class _Rows(Mapping[_Key, Sequence[Moments]]):
    """Some rows of all passes, put together when asked for: copies of a large set are large."""

    def __init__(self, passes: Sequence[Mapping[_Key, Moments]], rows: Sequence[int]) -> None:
        self._passes = passes
        self._rows = torch.tensor(rows, dtype=torch.int64)

    def __getitem__(self, key: _Key) -> list[Moments]:
        whole = joined([item[key] for item in self._passes])
        return [Moments(*(getattr(whole, part)[self._rows] for part in ("count", "mean", "m2")))]

    def __iter__(self) -> Iterator[_Key]:
        layers = len(self._passes[0]) // len(KINDS)
        return ((kind, layer) for layer in range(layers) for kind in KINDS)

    def __len__(self) -> int:
        return len(self._passes[0])
