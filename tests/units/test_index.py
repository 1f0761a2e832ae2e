"""The flat order of units."""

from __future__ import annotations

import numpy as np

from ssah_exp.units.index import HEAD, NEURON, UnitIndex
from tests import tiny

INDEX = UnitIndex(tiny.small_anatomy(layers=2, heads=2, neurons=3, head_parameters=5.0))


def test_order_is_block_by_block_heads_first() -> None:
    assert INDEX.layer.tolist() == [0] * 5 + [1] * 5
    assert INDEX.kind.tolist() == [HEAD, HEAD, NEURON, NEURON, NEURON] * 2
    assert INDEX.index.tolist() == [0, 1, 0, 1, 2] * 2
    assert INDEX.parameters.tolist() == [5, 5, 1, 1, 1] * 2


def test_flatten_follows_the_order() -> None:
    heads = np.array([[1.0, 2.0], [6.0, 7.0]])
    neurons = np.array([[3.0, 4.0, 5.0], [8.0, 9.0, 10.0]])
    assert INDEX.flatten(heads, neurons).tolist() == list(range(1, 11))


def test_split_undoes_flatten() -> None:
    draw = np.random.default_rng(0)
    heads, neurons = draw.random((2, 2)) > 0.5, draw.random((2, 3)) > 0.5
    again = INDEX.split(INDEX.flatten(heads, neurons))
    assert np.array_equal(again[0], heads)
    assert np.array_equal(again[1], neurons)
