"""Batches of like lengths."""

from __future__ import annotations

import numpy as np
import pytest

from ssah_exp.data.batching import like_lengths, longest_first
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Collate, dealt_examples

DRAW = np.random.default_rng(0)
EXAMPLES = [Encoded(tuple(range(int(n))), 1) for n in DRAW.integers(5, 90, size=67)]


def padding(order: list[list[int]]) -> int:
    batches = [Collate(0)([EXAMPLES[at] for at in some]) for some in order]
    return sum(int((batch.attention_mask == 0).sum()) for batch in batches)


@pytest.mark.parametrize("batch_size", [1, 8, 100])
@pytest.mark.parametrize("window", [1, 2, 8])
def test_every_example_comes_once_and_stays_in_its_window(batch_size: int, window: int) -> None:
    order = like_lengths(EXAMPLES, batch_size, window)
    flat = [at for some in order for at in some]
    assert sorted(flat) == list(range(len(EXAMPLES)))
    assert all(
        place // (window * batch_size) == at // (window * batch_size)
        for place, at in enumerate(flat)
    )
    assert all(len(some) == batch_size for some in order[:-1])
    assert dealt_examples(order) == flat


def test_windows_save_padding() -> None:
    none, two, eight = (padding(like_lengths(EXAMPLES, 8, window)) for window in (1, 2, 8))
    assert eight < two < none
    assert eight < 0.25 * none


def test_a_window_of_one_has_the_batches_of_data_order() -> None:
    assert [set(some) for some in like_lengths(EXAMPLES, 8, 1)] == [
        set(range(at, min(at + 8, 67))) for at in range(0, 67, 8)
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9])
def test_the_longest_rows_come_first_and_equal_ones_in_their_order(batch_size: int) -> None:
    rows = [range(n) for n in (2, 7, 2, 0, 7)]
    found = list(longest_first(rows, batch_size))
    assert [at for some in found for at in some] == [1, 4, 0, 2, 3]
    assert all(len(some) == batch_size for some in found[:-1])
    assert list(longest_first([], batch_size)) == []
