"""Which examples stand in one batch, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized

from ssah_exp.data.chat import Encoded

# Examples are sorted by length within this many batches. A window bounds what must be held back
# until it is complete; sorting whole sets of 128 saves one per cent more (docs/performance.md).
WINDOW = 8

Order = Sequence[Sequence[int]]


def like_lengths(
    examples: Sequence[Encoded], batch_size: int, window: int = WINDOW
) -> list[list[int]]:
    """Batches of conversations of like lengths, so that little padding is computed.

    Args:
        examples: A set, in data order.
        batch_size: Conversations per batch; only the last batch may have fewer.
        window: Batches within which conversations may change places; 1 = the batches of data order.

    Returns:
        Of each batch, the positions of its examples in the data.
    """
    order: list[int] = []
    size = window * batch_size
    for start in range(0, len(examples), size):
        some = range(start, min(start + size, len(examples)))
        order += sorted(some, key=lambda at: len(examples[at].input_ids))
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def longest_first(rows: Sequence[Sized], batch_size: int) -> Iterator[list[int]]:
    """Positions of rows of like length together, longest first so that memory peaks at once.

    Args:
        rows: Token ids, or what else is as long as they are.
        batch_size: Rows per batch; only the last may have fewer.
    """
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
