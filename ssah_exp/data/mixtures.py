"""Sources made of sources: benign sets with a share of harmful rows, sets minus what was seen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ssah_exp.data.sources import Example, ExampleSource, comparable
from ssah_exp.errors import DataError

_FLOAT_NOISE = 1e-9  # (1 / 49) * 49 is a little less than one


@dataclass(frozen=True)
class Poisoned:
    """A benign set in which a share of the examples is harmful.

    For one seed, a larger share holds every harmful example of a smaller one: a sweep over shares
    varies how many there are, not which.

    Attributes:
        benign: Where benign examples come from.
        harmful: Where harmful examples come from; not read at share 0.
        harmful_share: Share of all examples, 0 to 1; their number is the nearest whole one, of two
            equally near the even one. At 0 all are benign, in their own order.
        total: Examples altogether; None = as many as ``benign`` gives, with harmful ones in place
            of some.
    """

    benign: ExampleSource
    harmful: ExampleSource
    harmful_share: float
    total: int | None = None

    def load(self, seed: int) -> list[Example]:
        """Draw from both by the seed, and shuffle.

        Raises:
            DataError: The share is outside 0 to 1, or above 0 and less than one example; ``total``
                is below 1; or a source has too few rows.
        """
        if not 0 <= self.harmful_share <= 1:
            raise DataError(f"harmful_share={self.harmful_share:g} lies outside [0, 1].")
        benign = self.benign.load(seed)
        total = len(benign) if self.total is None else self.total
        if total < 1:
            raise DataError(f"total={total} is below 1.")
        count = self._harmful_count(total)
        draw = random.Random(seed)
        kept = _drawn(benign, total - count, draw, "benign")
        if count == 0:
            return kept
        mixed = kept + _drawn(self.harmful.load(seed), count, draw, "harmful")
        draw.shuffle(mixed)
        return mixed

    def _harmful_count(self, total: int) -> int:
        exact = self.harmful_share * total
        # A set that rounds such a share down, or up, is not the attack that its share names.
        if 0 < exact < 1 - _FLOAT_NOISE:
            raise DataError(
                f"harmful_share={self.harmful_share:g} of {total} examples is less than one."
            )
        return round(exact)


def _drawn(examples: list[Example], count: int, draw: random.Random, kind: str) -> list[Example]:
    """``count`` of the examples, in their order; the draw uses as much randomness at any count."""
    if count > len(examples):
        raise DataError(f"The mixture needs {count} {kind} examples; {len(examples)} are there.")
    order = list(range(len(examples)))
    draw.shuffle(order)
    return [examples[index] for index in sorted(order[:count])]


@dataclass(frozen=True)
class Unseen:
    """What a source gives, minus the requests of other sources.

    Two draws from one file with one seed overlap, often wholly: fine-tuning on a draw of the set
    that alignment drew from would repeat what the model was trained on.

    Attributes:
        source: Where examples come from.
        seen: Sources whose requests are left out, compared by their words.
        sample: If set, draw this many of the rest without replacement by the run's seed.
    """

    source: ExampleSource
    seen: Sequence[ExampleSource]
    sample: int | None = None

    def load(self, seed: int) -> list[Example]:
        """Load all of them, leave out what was seen, and draw.

        Raises:
            DataError: Nothing is left, or fewer than ``sample``, or that is below 1.
        """
        if self.sample is not None and self.sample < 1:
            raise DataError(f"sample={self.sample} is below 1.")
        known = {comparable(item.prompt) for source in self.seen for item in source.load(seed)}
        rows = [item for item in self.source.load(seed) if comparable(item.prompt) not in known]
        wanted = 1 if self.sample is None else self.sample
        if len(rows) < wanted:
            raise DataError(f"{wanted} unseen examples asked for, {len(rows)} there.")
        return rows if self.sample is None else random.Random(seed).sample(rows, self.sample)
