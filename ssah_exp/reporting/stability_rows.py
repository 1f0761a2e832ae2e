"""The stability atlas as rows and JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssah_exp.models.sizes import Anatomy
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.index import HEAD, KIND_NAMES, UnitIndex
from ssah_exp.units.stability import StabilityAtlas

SPEARMAN = "spearman"
T = TypeVar("T")


def agreement_rows(atlas: StabilityAtlas) -> pd.DataFrame:
    """One row per comparison and measure: Jaccard of each class, Spearman of z_S - z_U."""
    rows = [
        {
            "comparison": item.name,
            "examples_of_each_set": item.size,
            "draws": item.draws,
            "measure": measure,
            **asdict(spread),
        }
        for item in atlas.agreements
        for measure, spread in measures(item.jaccard, item.spearman)
    ]
    return pd.DataFrame(rows).astype({"examples_of_each_set": "Int64"})


def inclusion_rows(atlas: StabilityAtlas, anatomy: Anatomy) -> pd.DataFrame:
    """One row per unit that is SCU in some resample or in the reference, most frequent first."""
    if atlas.inclusion is None:
        return pd.DataFrame(columns=["layer", "kind", "index", "inclusion", "in_reference"])
    reference = atlas.reference == UnitClass.SCU
    columns = {"inclusion": atlas.inclusion, "in_reference": reference}
    return ever_in(reference, atlas.inclusion, anatomy, columns)


def ever_in(
    own: NDArray[np.bool_],
    inclusion: NDArray[np.float64],
    anatomy: Anatomy,
    columns: Mapping[str, NDArray[Any]],
) -> pd.DataFrame:
    """One row per unit that is ever in the class, most frequent first.

    Args:
        own: ``(units,)``: which units one classification has in the class.
        inclusion: ``(units,)``: the share of all classifications that have a unit in the class.
        anatomy: The model's anatomy.
        columns: Name -> ``(units,)`` values, written after a unit's layer, kind and index.
    """
    index = UnitIndex(anatomy)
    places = {"layer": index.layer, "kind": np.array(KIND_NAMES)[index.kind], "index": index.index}
    order = np.argsort(-inclusion, kind="stable")
    ever = order[((inclusion > 0) | own)[order]]
    return pd.DataFrame({**places, **columns}).iloc[ever]


def consensus_summary(atlas: StabilityAtlas, anatomy: Anatomy) -> dict[str, Any] | None:
    """Counts of what the resamples agree on; None where nothing was resampled."""
    if atlas.inclusion is None:
        return None
    reference = atlas.reference == UnitClass.SCU
    return consensus_counts(reference, atlas.consensus(), atlas.inclusion, anatomy, "reference")


def consensus_counts(
    own: NDArray[np.bool_],
    consensus: NDArray[np.bool_],
    inclusion: NDArray[np.float64],
    anatomy: Anatomy,
    name: str,
) -> dict[str, Any]:
    """Counts of a consensus, and its overlap with the units of one classification.

    Args:
        own: ``(units,)``: which units that classification has in the class.
        consensus: ``(units,)``: which units the consensus has in it.
        inclusion: ``(units,)``: the share of all classifications that have a unit in it.
        anatomy: The model's anatomy.
        name: What the keys call that classification.
    """
    index = UnitIndex(anatomy)
    either = int((consensus | own).sum())
    return {
        f"{name}_units": int(own.sum()),
        "consensus_units": int(consensus.sum()),
        "consensus_heads": int((consensus & (index.kind == HEAD)).sum()),
        "consensus_parameter_share": float(
            index.parameters[consensus].sum() / index.parameters.sum()
        ),
        f"jaccard_with_{name}": int((consensus & own).sum()) / either if either else None,
        "always": int((inclusion == 1).sum()),
        "ever": int((inclusion > 0).sum()),
    }


def consensus_text(counts: Mapping[str, Any]) -> str:
    """What :func:`consensus_counts` says of the consensus itself, as the end of a sentence."""
    return (
        f"{counts['consensus_units']} ({counts['consensus_heads']} heads, "
        f"{100 * counts['consensus_parameter_share']:.2f} % of parameters), in all: "
        f"{counts['always']}, in any: {counts['ever']}."
    )


def describe_stability(atlas: StabilityAtlas, anatomy: Anatomy) -> dict[str, Any]:
    """Everything in an atlas, as JSON values."""
    return {
        "examples": atlas.examples,
        "comparisons": [
            {
                "name": item.name,
                "examples_of_each_set": item.size,
                "draws": item.draws,
                **{
                    measure: asdict(spread)
                    for measure, spread in measures(item.jaccard, item.spearman)
                },
            }
            for item in atlas.agreements
        ],
        "consensus": consensus_summary(atlas, anatomy),
        "inclusion": inclusion_rows(atlas, anatomy).to_dict(orient="records"),
    }


def measures(jaccard: Mapping[str, T], spearman: T) -> list[tuple[str, T]]:
    """Names of measures with their values: Jaccard of each class, then Spearman."""
    return [*((f"jaccard_{name}", value) for name, value in jaccard.items()), (SPEARMAN, spearman)]
