"""Examples that come in another order are put back into that of the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssah_exp.data.batching import like_lengths
from ssah_exp.data.loaders import Collate
from ssah_exp.models.logits import hidden_states
from ssah_exp.models.sizes import KINDS
from ssah_exp.units.collect import StatisticsCollector, captured_inputs
from ssah_exp.units.moments import Moments
from ssah_exp.units.ordering import InOrder
from tests import tiny
from tests.units import oracle

ITEMS = tiny.conversations(11, seed=3)


def numbered(*places: int) -> Moments:
    count = torch.tensor(places, dtype=torch.float64)
    return Moments(count, count[:, None].expand(-1, 2), count[:, None].expand(-1, 2))


def test_moments_are_held_until_nothing_before_them_is_missing() -> None:
    order = InOrder()
    assert order.add([2, 4], numbered(2, 4)) is None
    assert order.add([1, 3], numbered(1, 3)) is None
    first = order.add([0], numbered(0))
    assert first is not None
    for part in (first.count, first.mean[:, 0], first.m2[:, 1]):
        assert part.tolist() == [0, 1, 2, 3, 4]
    assert order.add([6], numbered(6)) is None
    second = order.add([5], numbered(5))
    assert second is not None
    assert second.count.tolist() == [5, 6]
    third = order.add([7], numbered(7))
    assert third is not None
    assert third.count.tolist() == [7]


@torch.no_grad()
@pytest.mark.parametrize("tokens", ["response", "all"])
def test_batches_of_like_lengths_change_no_statistic(tokens: str) -> None:
    """Mean, variance, flap and every example's moments, against float64 of the same activations.

    float64 weights: what differs between batches of other shapes is then below 1e-9, and an
    example in a wrong place would show.
    """
    loaded = tiny.tiny_loaded("llama_gqa")
    loaded.model.double()
    collector = StatisticsCollector(tiny.LAYERS, tokens, keep_examples=True)
    order = like_lengths(ITEMS, 2, window=3)
    assert [at for some in order for at in some] != list(range(len(ITEMS)))
    with captured_inputs(loaded.model, collector.sink):
        for places in order:
            batch = Collate(0)([ITEMS[at] for at in places])
            collector.begin(batch, places)
            hidden_states(loaded.model, batch.input_ids, batch.attention_mask)
    found, kept = collector.result(), collector.examples()
    assert kept is not None
    recorded = oracle.record(loaded.model, ITEMS, tokens)
    for kind in KINDS:
        for layer in range(tiny.LAYERS):
            rows = recorded[str(kind), layer]
            for name in ("mean", "variance", "flap"):
                ours = getattr(found.by_kind[kind], name)[layer]
                np.testing.assert_allclose(ours, getattr(oracle, name)(rows), rtol=1e-6, atol=1e-15)
            mean = np.concatenate(rows).mean(axis=0)
            for at, row in enumerate(rows):
                assert float(kept.count[at]) == len(row)
                first, second = kept.first[kind][layer, at], kept.second[kind][layer, at]
                np.testing.assert_allclose(first, (row - mean).sum(axis=0), rtol=1e-6, atol=1e-12)
                squares = ((row - mean) ** 2).sum(axis=0)
                np.testing.assert_allclose(second, squares, rtol=1e-6, atol=1e-15)
