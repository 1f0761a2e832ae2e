"""The atlas over ways to calibrate: other examples, sources, tokens, sizes, and the floor.

Like :mod:`ssah_exp.units.stability`, a function of per-example moments: each calibration set costs
one pass of the model, and no draw costs another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.errors import UnitError
from ssah_exp.units.agreement import ClassAgreement, Classified, agreement, jaccards, spearman
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.resampling import (
    bootstrap_of,
    classified,
    counted,
    disjoint_of,
    floor_of,
    resampled_maps,
)
from ssah_exp.units.stability import subsample_sizes

_ROUNDING = 1e-12  # tolerance for a mean of shares

RUN, FLAP, RANDOM = "run", "flap", "random"
# Random streams, one per question; independent of those of the stability atlas, too.
_FIRST, _SECOND, _OTHER, _PAIRS, _RANDOM = 10, 11, 12, 13, 14


@dataclass(frozen=True)
class CalibrationSetting:
    """One way to calibrate a model.

    Attributes:
        name: For tables.
        differs: What it differs in from the run.
        identified: Statistics, with the moments of every example.
        floor: Unrelated to safety: no part of the consensus.
    """

    name: str
    differs: str
    identified: Identification
    floor: bool = False


@dataclass(frozen=True)
class ComparedSetting:
    """A setting beside the run.

    Attributes:
        name: Of the setting.
        differs: What it differs in from the run.
        floor: See :class:`CalibrationSetting`.
        examples: By set, examples with counted tokens; 0 for permuted scores.
        jaccard: By class, overlap of the classes that all examples give (for permuted scores, the
            mean over permutations); None where both are empty.
        spearman: Rank correlation of z_S - z_U, likewise.
        drawn: The same between one resample of the run's examples and one of the setting's; None
            where nothing is drawn. For the run itself, two resamples of its own are compared.
    """

    name: str
    differs: str
    floor: bool
    examples: dict[str, int]
    jaccard: dict[str, float | None]
    spearman: float
    drawn: ClassAgreement | None


@dataclass(frozen=True)
class SettingsAtlas:
    """How far the classes depend on how they were calibrated.

    Attributes:
        reference: ``(units,)`` uint8, classes from all of the run's examples.
        compared: The run itself first, then every setting, the other statistic and the floors.
        sizes: Agreement of two draws of n examples that share none.
        inclusion: By name of each setting but the floors, ``(units,)`` float64: share of its
            resamples whose SCU holds the unit.
        scores: ``(2, units)`` float64: z_S and z_U, means over those settings.
    """

    reference: NDArray[np.uint8]
    compared: list[ComparedSetting]
    sizes: list[ClassAgreement]
    inclusion: dict[str, NDArray[np.float64]]
    scores: NDArray[np.float64]

    def frequency(self) -> NDArray[np.float64]:
        """``(units,)`` float64: mean inclusion, every setting with the same weight."""
        mean: NDArray[np.float64] = np.mean(list(self.inclusion.values()), axis=0)
        return mean

    def agreed(self, share: float) -> NDArray[np.bool_]:
        """``(units,)`` bool: :meth:`frequency` is ``share`` or more, give or take rounding."""
        found: NDArray[np.bool_] = self.frequency() >= share - _ROUNDING
        return found


class SettingsComparison:
    """Compares settings with the run's own, one at a time, so that none must stay in memory.

    Args:
        reference: The run's own statistics, with the moments of its examples.
        units: Budgets and normalisation; the statistic is ``variance``, as in every resample.
        resamples: Draws per comparison, at least 2.
        seed: Decides every draw.

    Raises:
        UnitError: Fewer than two resamples, or no moments of examples.
    """

    def __init__(
        self,
        reference: Identification,
        units: UnitsConfig,
        *,
        resamples: int = 200,
        seed: int = 0,
    ) -> None:
        if resamples < 2:
            raise UnitError(f"resamples={resamples} is below 2.")
        self._units, self._resamples, self._seed = units, resamples, seed
        self._index = UnitIndex(reference.anatomy)
        self._run = reference
        scores = reference.scores(units, "variance")
        self._whole = self._classified(scores)
        # Ranks are half-integers, which float32 holds exactly.
        self._drawn = [
            (classes, ranks.astype(np.float32))
            for classes, ranks in self._maps(reference, _FIRST, 0)
        ]
        self._compared: list[ComparedSetting] = []
        self._inclusion: dict[str, NDArray[np.float64]] = {}
        self._scores: list[NDArray[np.float64]] = []
        self._add(CalibrationSetting(RUN, "", reference), scores, self._maps(reference, _SECOND, 0))

    def add(self, setting: CalibrationSetting) -> None:
        """Compare one more setting.

        Raises:
            UnitError: It has no moments of examples, or its name was used.
        """
        if any(item.name == setting.name for item in self._compared):
            raise UnitError(f"Two settings are called '{setting.name}'.")
        stream = len(self._compared)
        scores = setting.identified.scores(self._units, "variance")
        maps = self._maps(setting.identified, _OTHER, stream)
        self._add(setting, scores, maps)

    def result(self, sizes: list[ClassAgreement]) -> SettingsAtlas:
        """Everything compared so far, with the other statistic and permuted scores."""
        compared = [*self._compared, self._flap(), self._random()]
        scores = np.mean(self._scores, axis=0)
        return SettingsAtlas(self._whole[0], compared, sizes, self._inclusion, scores)

    def _add(
        self, setting: CalibrationSetting, scores: NDArray[np.float64], maps: Iterable[Classified]
    ) -> None:
        included = np.zeros(self._whole[0].size)
        mine = ((classes, ranks.astype(np.float64)) for classes, ranks in self._drawn)
        pairs = zip(mine, counted(maps, included), strict=True)
        drawn = agreement(setting.name, None, pairs)
        if not setting.floor:
            self._inclusion[setting.name] = included / self._resamples
            self._scores.append(scores)
        self._compared.append(self._beside(setting, scores, drawn))

    def _beside(
        self, setting: CalibrationSetting, scores: NDArray[np.float64], drawn: ClassAgreement | None
    ) -> ComparedSetting:
        classes, ranks = self._classified(scores)
        counts = {
            "safety": setting.identified.safety.examples,
            "utility": setting.identified.utility.examples,
        }
        return ComparedSetting(
            setting.name,
            setting.differs,
            setting.floor,
            counts,
            named(jaccards(self._whole[0], classes)),
            spearman(self._whole[1], ranks),
            drawn,
        )

    def _flap(self) -> ComparedSetting:
        scores = self._run.scores(self._units, "flap")
        return self._beside(CalibrationSetting(FLAP, "statistic", self._run), scores, None)

    def _random(self) -> ComparedSetting:
        """Every score moved to another unit of its layer and kind."""
        generator = np.random.default_rng([self._seed, _RANDOM])
        pairs = floor_of(self._whole, self._index, self._resamples, generator)
        drawn = agreement(RANDOM, None, pairs)
        means = {name: spread.mean for name, spread in drawn.jaccard.items()}
        rho = drawn.spearman.mean
        assert rho is not None
        return ComparedSetting(
            RANDOM, "permuted scores", True, dict.fromkeys(SETS, 0), means, rho, drawn
        )

    def _classified(self, scores: NDArray[np.float64]) -> Classified:
        return classified(scores, self._index.parameters, self._units)

    def _maps(self, identified: Identification, *stream: int) -> Iterator[Classified]:
        weights = bootstrap_of(identified, self._resamples, [self._seed, *stream])
        return resampled_maps(identified, weights, self._units)


def size_curve(
    pool: Identification,
    units: UnitsConfig,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> list[ClassAgreement]:
    """How well two draws of n examples of each set agree where they share no example.

    Args:
        pool: With the moments of many examples; n is 16, 32 and so on below half of the smaller
            set, and that half itself.
        units: Budgets and normalisation.
        resamples: Pairs of draws per size.
        seed: Decides every draw.

    Raises:
        UnitError: No moments of examples, or too few examples.
    """
    moments = pool.moments()
    half = min(moments[name].examples for name in SETS) // 2
    curve: list[ClassAgreement] = []
    for size in [*subsample_sizes(half), half]:
        drawn = dict.fromkeys(SETS, size)
        sides = disjoint_of(pool, drawn, resamples, [seed, _PAIRS, size])
        pairs = zip(*(resampled_maps(pool, side, units) for side in sides), strict=True)
        curve.append(agreement(f"pairs {size}", size, pairs))
    return curve


def named(overlaps: NDArray[np.float64]) -> dict[str, float | None]:
    """``(4,)`` from :func:`jaccards` by class; None for NaN."""
    return {
        item.name: None if np.isnan(overlaps[item]) else float(overlaps[item]) for item in UnitClass
    }
