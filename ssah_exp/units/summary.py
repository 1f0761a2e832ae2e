"""Counts and shares per class, for people and for records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssah_exp.units.agreement import centred_ranks, jaccards, spearman
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.index import HEAD, KIND_NAMES, NEURON
from ssah_exp.units.unitmap import UnitMap


def size_of_set(units: UnitMap, mask: NDArray[np.bool_] | None) -> dict[str, Any]:
    """How large a set of units is, as records of arms say it.

    Args:
        units: Scores and addresses.
        mask: ``(units,)`` bool; None = no unit.

    Returns:
        ``units``, ``unit_share`` and ``parameter_share`` of the model (0 to 1), ``magnitude``, the
        mean of z_S + z_U, ``shift`` and ``norm``, the means of :attr:`UnitMap.shift` and
        :attr:`UnitMap.norm` (None for no unit, and where the map holds none), and ``class_shares``:
        class -> share of its units that are in the set, for every class that has any (empty for no
        unit).
    """
    parameters, chosen = units.index.parameters, mask
    if chosen is None:
        chosen = np.zeros(units.anatomy.units, dtype=bool)
    return {
        "units": int(chosen.sum()),
        "unit_share": float(chosen.mean()),
        "parameter_share": float(parameters[chosen].sum() / parameters.sum()),
        "magnitude": _mean(units.safety + units.utility, chosen),
        "shift": _mean(units.shift, chosen),
        "norm": _mean(units.norm, chosen),
        "class_shares": _class_shares(units, chosen) if chosen.any() else {},
    }


def _mean(scores: NDArray[np.float64] | None, chosen: NDArray[np.bool_]) -> float | None:
    return None if scores is None or not chosen.any() else float(scores[chosen].mean())


def _class_shares(units: UnitMap, chosen: NDArray[np.bool_]) -> dict[str, float]:
    members = {item.name: units.select(item) for item in UnitClass}
    return {name: float(chosen[mask].mean()) for name, mask in members.items() if mask.any()}


def class_summary(units: UnitMap) -> dict[str, dict[str, float]]:
    """Per class: units, heads, neurons, and shares of units and of parameters (0 to 1)."""
    index = units.index
    total_parameters = float(index.parameters.sum())
    summary: dict[str, dict[str, float]] = {}
    for unit_class in UnitClass:
        mask = units.select(unit_class)
        summary[unit_class.name] = {
            "units": int(mask.sum()),
            "heads": int((mask & (index.kind == HEAD)).sum()),
            "neurons": int((mask & (index.kind == NEURON)).sum()),
            "unit_share": float(mask.mean()),
            "parameter_share": float(index.parameters[mask].sum()) / total_parameters,
        }
    return summary


def layer_summary(units: UnitMap) -> list[dict[str, int]]:
    """Per layer: the count of heads and of neurons in each class."""
    return [
        {"layer": layer}
        | {
            f"{unit_class.name}_{name}s": int(counts[kind, unit_class])
            for unit_class in UnitClass
            for kind, name in enumerate(KIND_NAMES)
        }
        for layer, counts in enumerate(where_counts(units))
    ]


def where_counts(units: UnitMap) -> NDArray[np.int64]:
    """``(layers, kinds, classes)`` int64: how many units there are of each."""
    index, kinds, classes = units.index, len(KIND_NAMES), len(UnitClass)
    cells = (index.layer.astype(np.int64) * kinds + index.kind) * classes + units.classes
    counts = np.bincount(cells, minlength=units.anatomy.layers * kinds * classes)
    return counts.reshape(-1, kinds, classes)


def rank_agreement(first: UnitMap, second: UnitMap) -> dict[str, float | None]:
    """Spearman correlation of scores and Jaccard overlap of SCU between two UnitMaps.

    None where it is undefined: scores that are all alike, no unit in either SCU.
    """
    scores = {
        "safety": (first.safety, second.safety),
        "utility": (first.utility, second.utility),
        "preference": (first.safety - first.utility, second.safety - second.utility),
    }
    found = {f"spearman_{of}": spearman(*map(centred_ranks, pair)) for of, pair in scores.items()}
    found["jaccard_scu"] = float(jaccards(first.classes, second.classes)[UnitClass.SCU])
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def describe(units: UnitMap) -> dict[str, Any]:
    """Everything `ssah-exp units show` prints, as JSON values."""
    return {
        "model": units.provenance.model,
        "revision": units.provenance.revision,
        "statistic": units.provenance.statistic,
        "unweighted": units.provenance.settings.get("unweighted", False),
        "anatomy": units.anatomy.as_dict(),
        "classes": class_summary(units),
        "layers": layer_summary(units),
    }
