"""Transfer between classes as rows: beside the paper's, beside its null, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.reporting.published import read_published
from ssah_exp.units.transfer import BASE_CLASSES, Flow

if TYPE_CHECKING:
    from ssah_exp.units.noise import Noise  # imports torch

ARTEFACT = "fig5_fig6_transfer"
_FINE_TUNING, _BASE_TO_CHAT = "fig5_dolly_finetuning", "fig6_base_to_chat"


def published_cells(flow: Flow) -> dict[tuple[str, str], float]:
    """The paper's shares of all units in percent, by (before, after).

    Both figures are of Llama-2-7B as a whole, so parts of a model have none; cells that the paper
    does not print are missing.
    """
    if flow.part != "all":
        return {}
    figure = _BASE_TO_CHAT if flow.before == BASE_CLASSES else _FINE_TUNING
    table = read_published(ARTEFACT)
    table = table[table["figure"] == figure]
    cells = zip(table["from"], table["to"], table["share_of_units_pct"], strict=True)
    return {(str(before), str(after)): float(share) for before, after, share in cells}


def became(flow: Flow, before: str, after: str) -> Estimate:
    """Of the units that were ``before``, the share that is ``after``, with its 95 % interval.

    The interval takes units for independent draws. They share layers and one ranking, so it is too
    narrow: it tells a share of a handful of units from one of thousands, no more.

    Raises:
        UnitError: There is no such class.
    """
    return rate(*flow.moved(before, after), 0.95, "units")


def transfer_rows(flows: Sequence[Flow]) -> pd.DataFrame:
    """One row per part of the model and pair of classes (from, to).

    Shares are in percent. ``of_before_pct`` is the share of the class before that went there, with
    its 95 % Wilson interval; ``chance_pct`` is what it would be if the class before said nothing.
    """
    rows: list[dict[str, Any]] = []
    for flow in flows:
        printed = published_cells(flow)
        units, parameters = flow.shares("units"), flow.shares("parameters")
        for row, before in enumerate(flow.before):
            for column, after in enumerate(flow.after):
                moved = became(flow, before, after).mapped(lambda share: 100 * share)
                rows.append(
                    {
                        "part": flow.part,
                        "from": before,
                        "to": after,
                        "units": int(flow.units[row, column]),
                        "share_of_units_pct": 100 * float(units[row, column]),
                        "share_of_parameters_pct": 100 * float(parameters[row, column]),
                        "of_before_pct": moved.value,
                        "of_before_low": moved.low,
                        "of_before_high": moved.high,
                        "chance_pct": 100 * flow.chance(after),
                        "published_share_of_units_pct": printed.get((before, after)),
                    }
                )
    return pd.DataFrame(rows)


def noise_rows(found: Sequence[Noise]) -> pd.DataFrame:
    """One row per comparison and pair of classes (from, to), in percent of the class before."""
    return pd.DataFrame(
        [
            {
                "comparison": item.name,
                "draws": item.draws,
                "from": before,
                "to": after,
                **{
                    f"of_before_{end}": None if value is None else 100 * value
                    for end, value in asdict(share).items()
                },
            }
            for item in found
            for (before, after), share in item.shares.items()
        ]
    )


def track_rows(track: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per look and pair of classes (from, to).

    Args:
        track: Looks at one arm, as in its record: each has ``step`` and the 4 x 4 table ``units``.

    Returns:
        ``step``, ``from`` (the class before the first step), ``to`` (the class at that step),
        ``units``, and ``of_before_pct``, their share of the class before; empty where that class
        has no units.
    """
    rows: list[dict[str, Any]] = []
    for look in track:
        table = np.asarray(look["units"], dtype=np.int64)
        for before, counts in zip(CLASSES, table, strict=True):
            whole = int(counts.sum())
            rows += [
                {
                    "step": int(look["step"]),
                    "from": before,
                    "to": after,
                    "units": int(count),
                    "of_before_pct": 100 * int(count) / whole if whole else None,
                }
                for after, count in zip(CLASSES, counts, strict=True)
            ]
    return pd.DataFrame(rows).astype({"of_before_pct": "float64"})
