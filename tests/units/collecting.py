"""Two ways to collect statistics: the bare collector, and identification through Lightning."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssah_exp.config.schema import TrainerConfig, UnitsConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Batch, Collate
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.sizes import KINDS
from ssah_exp.units.collect import StatisticsCollector, captured_inputs
from ssah_exp.units.identify import Identification, identify
from ssah_exp.units.statistics import ChannelStatistics
from tests.tiny import LAYERS


@torch.no_grad()
def collect(
    loaded: LoadedModel, batches: Sequence[Batch], tokens: str = "response"
) -> ChannelStatistics:
    collector = StatisticsCollector(LAYERS, tokens)
    with captured_inputs(loaded.model, collector.sink):
        for batch in batches:
            collector.begin(batch)
            hidden_states(loaded.model, batch.input_ids, batch.attention_mask)
    return collector.result()


def right_padded(items: Sequence[Encoded], batch_size: int) -> list[Batch]:
    collate = Collate(0)
    return [collate(items[at : at + batch_size]) for at in range(0, len(items), batch_size)]


def widened(batch: Batch, amount: int, *, left: bool) -> Batch:
    """The same batch with more padding, of token 9, on one side."""
    sides = (amount, 0) if left else (0, amount)

    def wider(tensor: torch.Tensor, value: int) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, sides, value=value)

    return Batch(
        wider(batch.input_ids, 9), wider(batch.attention_mask, 0), wider(batch.response_mask, 0)
    )


def run_identify(
    loaded: LoadedModel,
    safety: Sequence[Encoded],
    utility: Sequence[Encoded],
    *,
    tokens: str = "response",
    batch_size: int = 3,
) -> Identification:
    return identify(
        loaded,
        {"safety": safety, "utility": utility},
        UnitsConfig(tokens=tokens, batch_size=batch_size),
        TrainerConfig(accelerator="cpu", progress=False),
    )


def assert_same(first: ChannelStatistics, second: ChannelStatistics, names: Sequence[str]) -> None:
    """Equal up to the rounding of float32 activations."""
    assert (first.tokens, first.examples) == (second.tokens, second.examples)
    for kind in KINDS:
        for name in names:
            mine, theirs = (getattr(item.by_kind[kind], name) for item in (first, second))
            scale = float(theirs.abs().max())
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * scale)
