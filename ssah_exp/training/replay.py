"""The batches of all epochs as one sequence, each with its part in its optimizer step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader


@dataclass(frozen=True)
class Turn:
    """A batch and its part in its optimizer step.

    Attributes:
        batch: What the loader gave.
        weight: Factor on its loss; 1 unless batches of a step differ in size.
    """

    batch: Any
    weight: float


class ReplayedBatches:
    """All epochs of a loader as one sequence that can start between any two optimizer steps.

    The loader is made anew and the batches already seen are skipped, so that its random order is
    the same whether a run was interrupted or not. Lightning stores and restores the position
    through ``state_dict``.

    Args:
        make: Makes the loader; its order must follow from a seed alone.
        epochs: Passes over the data.
        each: Batches per optimizer step.
        size: What a batch counts for in its step.
    """

    def __init__(
        self,
        make: Callable[[], DataLoader[Any]],
        epochs: int,
        each: int = 1,
        size: Callable[[Any], int] = lambda _: 1,
    ) -> None:
        self._make = make
        self._epochs = epochs
        self._each = each
        self._size = size
        self._length = epochs * len(make())
        self._done = 0

    def __len__(self) -> int:
        """Batches over all epochs."""
        return self._length

    def __iter__(self) -> Iterator[Turn]:
        """From the restored position on.

        The sum over a step of weight x loss, divided by ``each`` as Lightning does, is the mean
        over all that the step's batches hold, as if they were one; also where the last step has
        fewer of them.
        """
        loader = self._make()
        every = itertools.chain.from_iterable(iter(loader) for _ in range(self._epochs))
        unseen = itertools.islice(every, self._done, None)
        while step := list(itertools.islice(unseen, self._each)):
            sizes = [self._size(batch) for batch in step]
            for batch, size in zip(step, sizes, strict=True):
                self._done += 1
                yield Turn(batch, self._each * size / max(sum(sizes), 1))

    def state_dict(self) -> dict[str, int]:
        """How many batches were handed out."""
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start after the batches that were handed out."""
        self._done = int(state["done"])
