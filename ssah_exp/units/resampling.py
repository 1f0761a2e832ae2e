"""Drawing calibration examples anew, and the scores and classes that every draw gives.

Everything is a function of per-example moments (:mod:`ssah_exp.units.examples`): no forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.errors import UnitError
from ssah_exp.units.agreement import Classified, centred_ranks
from ssah_exp.units.classes import UnitClass, classify
from ssah_exp.units.identify import SETS, Identification
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.scores import channel_importance, normalised

# Resamples scored at a time: memory is bounded by two tables of this many rows of all channels.
_CHUNK = 20

Weights = dict[str, NDArray[np.float64]]


def bootstrap_weights(
    examples: int, resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """``(resamples, examples)``: how often each example is drawn; rows sum to ``examples``."""
    even = np.full(examples, 1 / examples)
    return generator.multinomial(examples, even, size=resamples).astype(np.float64)


def subset_weights(
    examples: int, size: int, resamples: int, generator: np.random.Generator, *, skip: int = 0
) -> NDArray[np.float64]:
    """``(resamples, examples)`` of 0 and 1: ``size`` different examples a row.

    Args:
        examples: Examples to draw from.
        size: Examples to draw.
        resamples: Rows.
        generator: Decides the order in which examples are drawn.
        skip: How many at the start of that order to leave out: with a generator in the same state,
            rows are disjoint from those drawn with ``size=skip, skip=0``.
    """
    order = generator.permuted(np.tile(np.arange(examples), (resamples, 1)), axis=1)
    weights = np.zeros((resamples, examples))
    np.put_along_axis(weights, order[:, skip : skip + size], 1.0, axis=1)
    return weights


def permuted_within(
    index: UnitIndex, resamples: int, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Random orders of all units, ``(units,)`` each, in which none leaves its layer or kind."""
    stratum = index.stratum
    home = np.argsort(stratum, kind="stable")
    for _ in range(resamples):
        order = np.empty_like(home)
        # Sorted by a number drawn in [stratum, stratum + 1): shuffled within each stratum.
        order[home] = np.argsort(stratum + generator.random(home.size))
        yield order


def floor_of(
    reference: Classified, index: UnitIndex, resamples: int, generator: np.random.Generator
) -> Iterator[tuple[Classified, Classified]]:
    """A classification beside itself with every score moved to another unit of its layer and kind.

    Units of a layer and kind weigh the same, so their classes move with their scores.
    """
    classes, ranks = reference
    for order in permuted_within(index, resamples, generator):
        yield reference, (classes[order], ranks[order])


def classified(
    scores: NDArray[np.float64], parameters: NDArray[np.float64], units: UnitsConfig
) -> Classified:
    """Classes and ranks of z_S - z_U from ``(2, units)`` scores and each unit's parameter count."""
    safety, utility = scores
    return classify(safety, utility, parameters, units.budgets), centred_ranks(safety - utility)


def resampled_scores(
    identified: Identification, weights: Weights, units: UnitsConfig
) -> dict[str, NDArray[np.float64]]:
    """Normalised scores of every resample, by set; statistic ``variance``.

    Args:
        identified: With ``examples``.
        weights: By set ``(R, E)``, times each example is drawn.
        units: Which of the normalised scores.

    Returns:
        By set ``(R, units)`` float64, in the flat order.

    Raises:
        UnitError: No moments were kept, or a resample is too small; see
            :meth:`ssah_exp.units.examples.ExampleMoments.variance`.
    """
    moments = identified.moments()
    index, norms = UnitIndex(identified.anatomy), identified.weighting(units)
    scores: dict[str, NDArray[np.float64]] = {}
    for name in SETS:
        dispersion = moments[name].variance(torch.from_numpy(weights[name]))
        blocks = {
            kind: channel_importance(dispersion[kind], norms[kind]).flatten(0, 1)
            for kind in dispersion
        }
        flat = index.flatten(*normalised(blocks, index.anatomy, square=units.square_attention))
        scores[name] = flat.reshape(-1, index.anatomy.units)
    return scores


def resampled_maps(
    identified: Identification, weights: Weights, units: UnitsConfig
) -> Iterator[Classified]:
    """The classification of every resample.

    Args:
        identified: With ``examples``.
        weights: By set ``(R, E)``, times each example is drawn.
        units: Budgets and normalisation.

    Yields:
        R times; see :data:`~ssah_exp.units.agreement.Classified`.

    Raises:
        UnitError: See :func:`resampled_scores`.
    """
    parameters = UnitIndex(identified.anatomy).parameters
    resamples = len(weights[SETS[0]])
    for start in range(0, resamples, _CHUNK):
        chunk = {name: rows[start : start + _CHUNK] for name, rows in weights.items()}
        scores = resampled_scores(identified, chunk, units)
        for pair in np.stack([scores[name] for name in SETS], axis=1):
            yield classified(pair, parameters, units)


def counted(maps: Iterable[Classified], included: NDArray[np.float64]) -> Iterator[Classified]:
    """Pass classifications on; add 1 to ``included``, ``(units,)``, for each unit in SCU."""
    for item in maps:
        included += item[0] == UnitClass.SCU
        yield item


def bootstrap_of(identified: Identification, resamples: int, stream: list[int]) -> Weights:
    """Both sets drawn with replacement, as many examples as there are.

    Args:
        identified: With ``examples``.
        resamples: Rows.
        stream: Seed of the draws; each set adds its number.

    Raises:
        UnitError: No moments were kept.
    """
    moments = identified.moments()
    return {
        name: bootstrap_weights(
            moments[name].examples, resamples, np.random.default_rng([*stream, at])
        )
        for at, name in enumerate(SETS)
    }


def disjoint_of(
    identified: Identification, sizes: Mapping[str, int], resamples: int, stream: list[int]
) -> tuple[Weights, Weights]:
    """Two draws of each set that share no example.

    Args:
        identified: With ``examples``.
        sizes: By set, examples of one draw; at most half of those there are.
        resamples: Rows.
        stream: Seed of the draws; each set adds its number.

    Raises:
        UnitError: No moments were kept, or there are too few examples.
    """
    moments = identified.moments()
    sides: tuple[Weights, Weights] = ({}, {})
    for at, name in enumerate(SETS):
        examples, size = moments[name].examples, sizes[name]
        if 2 * size > examples:
            raise UnitError(f"{examples} {name} examples hold no two sets of {size}.")
        for side, weights in enumerate(sides):
            # The same stream twice: one order, of which each side takes its part.
            generator = np.random.default_rng([*stream, at])
            weights[name] = subset_weights(examples, size, resamples, generator, skip=side * size)
    return sides
