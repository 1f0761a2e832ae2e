"""Control sets: as many other units, in the same layers and of the same kinds.

A claim about a class stands only beside its null. All controls copy the class's count per layer
and kind, so shares of unit parameters agree exactly. (Trained weights may differ a little under
grouped-query attention: a key-value head trains only with all its query heads.) They take units
from outside the class, or, where a class holds most of a layer and so leaves too few, from the
whole layer (``overlap``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssah_exp.errors import UnitError, did_you_mean
from ssah_exp.units.index import KIND_NAMES
from ssah_exp.units.unitmap import UnitMap

# Kinds that are matched by what a map holds beside its scores.
_MEASURED = {"shifted": "shift", "normed": "norm"}
# The second number of each kind's random streams: published records hold their draws.
STREAMS = {"matched": 0, "random": 1, "shifted": 2, "normed": 3}


@dataclass(frozen=True)
class Control:
    """One control set.

    Attributes:
        mask: ``(units,)`` bool.
        overlap: Share of the control's units that are in the class.
    """

    mask: NDArray[np.bool_]
    overlap: float


@dataclass(frozen=True)
class Wording:
    """What whoever asks for a control calls things, for the error that there is none.

    Attributes:
        of: The class.
        option: What a user sets to ``true`` for ``overlap``.
        bound: What ``within`` holds.
    """

    of: str = "the class"
    option: str = "overlap"
    bound: str = "some units"


def control_stream(seed: int, kind: str, draw: int) -> list[int]:
    """The seed of one draw: the same for every class, table and selector of a run.

    Args:
        seed: The run's seed.
        kind: ``random``, ``matched``, ``shifted`` or ``normed``.
        draw: Its number, from 0.

    Raises:
        UnitError: The kind is unknown.
    """
    _check_kind(kind)
    return [seed, STREAMS[kind], draw]


def draw_control(
    units: UnitMap,
    target: NDArray[np.bool_],
    kind: str,
    seed: int | Sequence[int],
    *,
    pool: int = 5,
    overlap: bool = False,
    within: NDArray[np.bool_] | None = None,
    wording: Wording = Wording(),
) -> Control:
    """Draw one control set for ``target``.

    Args:
        units: Scores and addresses.
        target: ``(units,)`` bool, the class that the control is for.
        kind: ``random``: uniform among the layer's other units of the kind. ``matched``: each
            target unit gets one of the ``pool`` nearest units that are still free, by overall
            importance z_S + z_U: size of score is held near, preference for safety is left free.
            Where the target lies at an end of the ranking, most of the pool lies further in, and
            the control's mean falls short of the target's; a smaller pool is nearer.
            ``shifted``: the same, by how far units' means move between the calibration sets
            (:attr:`UnitMap.shift`). ``normed``: the same, by how large the weights behind units
            are (:attr:`UnitMap.norm`), whatever their activations do.
        seed: Decides the draw.
        pool: Candidates per unit for all but ``random``.
        overlap: Draw from all units of the layer and kind, the target's own included. A target
            unit is then matched to itself only if no other unit is free.
        within: ``(units,)`` bool, the only units to draw from; None = all.
        wording: Of errors.

    Raises:
        UnitError: The target is empty, the kind is unknown, a layer has fewer units to draw from
            than the class has, or ``units`` does not hold what ``kind`` matches by.
    """
    if not target.any():
        raise UnitError("A control was asked for an empty set of units.")
    generator = np.random.default_rng(seed)
    measure = _measure(units, kind)
    mask = np.zeros_like(target)
    allowed = np.ones_like(target) if overlap else ~target
    if within is not None:
        allowed &= within
    advice = ""
    if not overlap:
        advice = f" With {wording.option}=true the control may share units with the class."
    if within is not None:
        advice += f" It is drawn from {wording.bound}."
    for number, members, candidates in _strata(units, target, allowed):
        if members.size > candidates.size:
            layer, of_kind = divmod(number, len(KIND_NAMES))
            raise UnitError(
                f"Layer {layer} has {candidates.size} {KIND_NAMES[of_kind]}s to draw a control "
                f"from and {members.size} in {wording.of}: no control of the same layer mix "
                f"exists.{advice}"
            )
        if measure is None:
            chosen = generator.choice(candidates, size=members.size, replace=False)
        else:
            chosen = _match(measure, members, candidates, pool, generator)
        mask[chosen] = True
    return Control(mask, overlap=float(target[mask].mean()))


def _check_kind(kind: str) -> None:
    if kind not in STREAMS:
        raise UnitError(f"Unknown control '{kind}'.{did_you_mean(kind, STREAMS)}")


def _measure(units: UnitMap, kind: str) -> NDArray[np.float64] | None:
    """``(units,)`` what a control is to be near its class in; None = nothing."""
    _check_kind(kind)
    if kind == "matched":
        return units.safety + units.utility
    return units.known(_MEASURED[kind]) if kind in _MEASURED else None


def _strata(
    units: UnitMap, target: NDArray[np.bool_], allowed: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Number, members and candidates of every layer and kind that the target touches."""
    stratum = units.index.stratum
    for number in np.unique(stratum[target]):
        members = np.flatnonzero((stratum == number) & target)
        candidates = np.flatnonzero((stratum == number) & allowed)
        yield int(number), members, candidates


def _match(
    measure: NDArray[np.float64],
    members: NDArray[np.int64],
    candidates: NDArray[np.int64],
    pool: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Give each member one of its nearest free candidates, members in random order."""
    order = np.argsort(measure[candidates], kind="stable")
    free = candidates[order]
    values = measure[free]
    chosen: list[int] = []
    for member in generator.permutation(members):
        wanted = float(measure[member])
        own = np.flatnonzero(free == member)  # its own place; none, unless overlap is allowed
        if own.size and free.size > 1:
            near = _nearest(np.delete(values, own), wanted, pool)
            near += near >= own  # back to positions among all that are free
        else:
            near = _nearest(values, wanted, pool)
        pick = int(generator.choice(near))
        chosen.append(int(free[pick]))
        free, values = np.delete(free, pick), np.delete(values, pick)
    return np.array(chosen, dtype=np.int64)


def _nearest(values: NDArray[np.float64], wanted: float, pool: int) -> NDArray[np.int64]:
    """Positions of the ``pool`` values nearest to ``wanted`` in an ascending array."""
    at = int(np.searchsorted(values, wanted))
    low, high = max(0, at - pool), min(values.size, at + pool)
    window = np.arange(low, high)
    order = np.argsort(np.abs(values[window] - wanted), kind="stable")
    return window[order[:pool]]
