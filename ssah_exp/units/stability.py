"""Stability atlas: how far classes depend on which calibration examples were drawn.

Every comparison is a function of per-example moments (:mod:`ssah_exp.units.examples`): no forward
pass beyond the one that made them. Safety and utility examples are drawn independently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.errors import UnitError
from ssah_exp.units.agreement import ClassAgreement, Classified, agreement
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.resampling import (
    Weights,
    bootstrap_of,
    classified,
    counted,
    disjoint_of,
    floor_of,
    resampled_maps,
    subset_weights,
)

# Smallest subsample; sizes double from there as long as they are below the whole set.
_SMALLEST = 16
# Independent random streams, one per question.
_BOOTSTRAP, _HALVES, _RANDOM, _SUBSAMPLE = 0, 1, 2, 3


@dataclass(frozen=True)
class StabilityAtlas:
    """The classes that all examples give, and how others compare with them.

    Attributes:
        examples: By set, examples with counted tokens; None where only pooled statistics are known.
        reference: ``(units,)`` uint8, classes from all examples.
        agreements: One per comparison.
        inclusion: ``(units,)`` float64, share of bootstrap resamples whose SCU holds the unit; None
            without resamples.
    """

    examples: dict[str, int] | None
    reference: NDArray[np.uint8]
    agreements: list[ClassAgreement]
    inclusion: NDArray[np.float64] | None

    def consensus(self) -> NDArray[np.bool_]:
        """``(units,)`` bool: units in SCU in at least half of the resamples.

        Raises:
            UnitError: Nothing was resampled.
        """
        if self.inclusion is None:
            raise UnitError("Pooled statistics cannot be resampled: there is no consensus.")
        chosen: NDArray[np.bool_] = self.inclusion >= 0.5
        return chosen


def stability(
    identified: Identification,
    units: UnitsConfig,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> StabilityAtlas:
    """Compare the classes of all examples with those of resampled ones.

    ``bootstrap``: as many examples, drawn with replacement. ``subsample n``: n examples of each
    set, drawn without replacement. ``halves``: two halves that share no example, compared with each
    other. ``flap``: the other statistic over all examples. ``random``: scores permuted within every
    layer and kind, the floor that anything must exceed. All but ``flap`` use the statistic
    ``variance``: ``flap`` depends on the order of examples, which a resample does not have.

    Args:
        identified: Pooled statistics; with ``examples`` for the comparisons that draw examples.
        units: Budgets and normalisation.
        resamples: Draws per comparison, at least 2.
        seed: Decides every draw.

    Raises:
        UnitError: Fewer than two resamples, or a set of fewer than four examples.
    """
    if resamples < 2:
        raise UnitError(f"resamples={resamples} is below 2.")
    found = _Comparisons(identified, units, resamples, seed)
    if identified.examples is None:
        return StabilityAtlas(None, found.reference, [found.flap(), found.random()], None)
    counts = {name: identified.examples[name].examples for name in SETS}
    if min(counts.values()) < 4:
        raise UnitError(f"Two halves need four examples of each set; there are {counts}.")
    bootstrap, inclusion = found.bootstrap()
    sizes = subsample_sizes(min(counts.values()))
    subsamples = [found.subsample(counts, size) for size in sizes]
    agreements = [*subsamples, bootstrap, found.halves(counts), found.flap(), found.random()]
    return StabilityAtlas(counts, found.reference, agreements, inclusion)


def subsample_sizes(examples: int) -> list[int]:
    """16, 32, 64 and so on, below ``examples``."""
    sizes, size = [], _SMALLEST
    while size < examples:
        sizes.append(size)
        size *= 2
    return sizes


class _Comparisons:
    """The comparisons of one atlas; each draws from a random stream of its own."""

    def __init__(
        self,
        identified: Identification,
        units: UnitsConfig,
        resamples: int,
        seed: int,
    ) -> None:
        self._identified = identified
        self._units = units
        self._resamples = resamples
        self._seed = seed
        self._index = UnitIndex(identified.anatomy)
        self._whole = self._by("variance")

    @property
    def reference(self) -> NDArray[np.uint8]:
        """``(units,)`` classes from all examples."""
        return self._whole[0]

    def bootstrap(self) -> tuple[ClassAgreement, NDArray[np.float64]]:
        """Agreement with the reference, and how often each unit is in SCU."""
        weights = bootstrap_of(self._identified, self._resamples, [self._seed, _BOOTSTRAP])
        included = np.zeros(self.reference.size)
        found = self._agreement("bootstrap", None, counted(self._maps(weights), included))
        return found, included / self._resamples

    def subsample(self, counts: dict[str, int], size: int) -> ClassAgreement:
        """``size`` examples of each set."""
        weights = {
            name: subset_weights(
                counts[name], size, self._resamples, self._stream(_SUBSAMPLE, size, at)
            )
            for at, name in enumerate(SETS)
        }
        return self._agreement(f"subsample {size}", size, self._maps(weights))

    def halves(self, counts: dict[str, int]) -> ClassAgreement:
        """Two equal halves without a common example, against each other."""
        sizes = {name: count // 2 for name, count in counts.items()}
        sides = disjoint_of(self._identified, sizes, self._resamples, [self._seed, _HALVES])
        pairs = zip(*map(self._maps, sides), strict=True)
        return agreement("halves", min(counts.values()) // 2, pairs)

    def flap(self) -> ClassAgreement:
        """The other statistic over all examples."""
        return self._agreement("flap", None, [self._by("flap")])

    def random(self) -> ClassAgreement:
        """Scores of other units of the same layer and kind."""
        pairs = floor_of(self._whole, self._index, self._resamples, self._stream(_RANDOM))
        return agreement("random", None, pairs)

    def _by(self, statistic: str) -> Classified:
        scores = self._identified.scores(self._units, statistic)
        return classified(scores, self._index.parameters, self._units)

    def _maps(self, weights: Weights) -> Iterator[Classified]:
        return resampled_maps(self._identified, weights, self._units)

    def _agreement(
        self, name: str, size: int | None, others: Iterable[Classified]
    ) -> ClassAgreement:
        return agreement(name, size, ((self._whole, item) for item in others))

    def _stream(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *numbers])
