"""Puts examples that were computed in another order back into the order of the data."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssah_exp.units.moments import Moments, joined


class InOrder:
    """Holds moments back until all examples before them have come.

    Batches of like lengths mix the examples within a window; what depends on their order (`flap`,
    and code that asks for example number e) must not see that. What is held is at most a window.
    """

    def __init__(self) -> None:
        self._next = 0
        self._held: list[tuple[Sequence[int], Moments]] = []

    def add(self, positions: Sequence[int], moments: Moments) -> Moments | None:
        """Take a batch.

        Args:
            positions: Position of each example in the data; each position comes once.
            moments: Leading dimension: the same examples.

        Returns:
            All that is held, in data order, as soon as nothing before it is missing; else None.
        """
        self._held.append((positions, moments))
        places = [place for some, _ in self._held for place in some]
        if self._next + len(places) != max(places) + 1:
            return None
        found = [item for _, item in self._held]
        self._next, self._held = self._next + len(places), []
        if places == sorted(places):
            return found[0] if len(found) == 1 else joined(found)
        order = torch.tensor(places, device=moments.count.device).argsort()
        whole = joined(found)
        return Moments(whole.count[order], whole.mean[order], whole.m2[order])
