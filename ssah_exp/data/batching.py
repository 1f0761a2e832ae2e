"""Which examples share a batch, so that little padding is computed; padding on the left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from itertools import takewhile

import torch

from ssah_exp.data.chat import Encoded

# Examples are sorted by length within this many batches. A window bounds what must be held back
# until it is complete; sorting whole sets of 128 saves one per cent more (docs/performance.md).
WINDOW = 8

Order = Sequence[Sequence[int]]


def left_padded(
    rows: Sequence[Sequence[int]], pad_id: int, shared: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids for generation, which goes on after the last position.

    Args:
        rows: Token ids, of any lengths.
        pad_id: Token id for padding.
        shared: How many tokens all rows begin with; padding is put after them.

    Returns:
        Ids and attention mask (0 = padding), ``(B, T)`` int64 each, on the CPU.
    """
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        own = length - (len(row) - shared)
        ids[at, :shared], ids[at, own:] = torch.tensor(row[:shared]), torch.tensor(row[shared:])
        mask[at, :shared], mask[at, own:] = 1, 1
    return ids, mask


def like_lengths(
    examples: Sequence[Encoded], batch_size: int, window: int = WINDOW
) -> list[list[int]]:
    """Batches of conversations of like lengths, so that little padding is computed.

    Args:
        examples: A set, in data order.
        batch_size: Conversations per batch; only the last batch may have fewer.
        window: Number of batches within which conversations may change places; 1 = the batches of
            data order.

    Returns:
        For each batch, the positions of its examples in the data.
    """
    order: list[int] = []
    size = window * batch_size
    for start in range(0, len(examples), size):
        some = range(start, min(start + size, len(examples)))
        order += sorted(some, key=lambda at: len(examples[at].input_ids))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def common_beginning(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return sum(1 for _ in alike)


def longest_first(rows: Sequence[Sized], batch_size: int) -> Iterator[list[int]]:
    """Batches of positions of rows of like length, longest first: memory peaks in the first batch.

    Args:
        rows: Token ids, or anything else of their lengths.
        batch_size: Rows per batch; only the last may have fewer.
    """
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
