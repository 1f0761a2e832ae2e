"""The stability atlas as rows and JSON values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ssah_exp.models.anatomy import Anatomy
from ssah_exp.units.agreement import Spread
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.index import KIND_NAMES, UnitIndex
from ssah_exp.units.stability import Atlas

SPEARMAN = "spearman"


def agreement_rows(atlas: Atlas) -> pd.DataFrame:
    """One row per comparison and measure: Jaccard of each class, Spearman of z_S - z_U."""
    rows = [
        {
            "comparison": item.name,
            "examples_of_each_set": item.size,
            "draws": item.draws,
            "measure": measure,
            "mean": spread.mean,
            "low": spread.low,
            "high": spread.high,
        }
        for item in atlas.agreements
        for measure, spread in _measures(item.jaccard, item.spearman)
    ]
    return pd.DataFrame(rows).astype({"examples_of_each_set": "Int64"})


def inclusion_rows(atlas: Atlas, anatomy: Anatomy) -> pd.DataFrame:
    """One row per unit that some resample or the reference counts as SCU, most frequent first."""
    index, inclusion = UnitIndex(anatomy), atlas.inclusion
    columns = ["layer", "kind", "index", "inclusion", "in_reference"]
    if inclusion is None:
        return pd.DataFrame(columns=columns)
    reference = atlas.reference == UnitClass.SCU
    chosen = np.flatnonzero((inclusion > 0) | reference)
    chosen = chosen[np.argsort(-inclusion[chosen], kind="stable")]
    kinds = np.array(KIND_NAMES)[index.kind[chosen]]
    values = (index.layer[chosen], kinds, index.index[chosen], inclusion[chosen], reference[chosen])
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def consensus_summary(atlas: Atlas, anatomy: Anatomy) -> dict[str, Any] | None:
    """What resamples agree on; None where nothing was resampled."""
    if atlas.inclusion is None:
        return None
    index = UnitIndex(anatomy)
    reference = atlas.reference == UnitClass.SCU
    consensus = atlas.consensus()
    either = int((consensus | reference).sum())
    return {
        "reference_units": int(reference.sum()),
        "consensus_units": int(consensus.sum()),
        "consensus_heads": int((consensus & (index.kind == 0)).sum()),
        "consensus_parameter_share": float(
            index.parameters[consensus].sum() / index.parameters.sum()
        ),
        "jaccard_with_reference": int((consensus & reference).sum()) / either if either else None,
        "always": int((atlas.inclusion == 1).sum()),
        "ever": int((atlas.inclusion > 0).sum()),
    }


def describe_atlas(atlas: Atlas, anatomy: Anatomy) -> dict[str, Any]:
    """Everything, as JSON values."""
    return {
        "examples": atlas.examples,
        "comparisons": [
            {
                "name": item.name,
                "examples_of_each_set": item.size,
                "draws": item.draws,
                **{
                    measure: {"mean": spread.mean, "low": spread.low, "high": spread.high}
                    for measure, spread in _measures(item.jaccard, item.spearman)
                },
            }
            for item in atlas.agreements
        ],
        "consensus": consensus_summary(atlas, anatomy),
        "inclusion": inclusion_rows(atlas, anatomy).to_dict(orient="records"),
    }


def _measures(jaccard: dict[str, Spread], spearman: Spread) -> list[tuple[str, Spread]]:
    named = [(f"jaccard_{name}", spread) for name, spread in jaccard.items()]
    return [*named, (SPEARMAN, spearman)]
