"""Attribute transfer as a table to print: every share, the paper's, and their difference."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ssah_exp.reporting.text import format_frame, interval_text, prose
from ssah_exp.reporting.transfer_rows import transfer_rows
from ssah_exp.units.transfer import BASE_CLASSES, Flow, differences
from ssah_exp.units.unitmap import UnitMap

_PAPER = "Llama-2-7B"
# What the paper trained between its two maps (Figures 6 and 5).
_TRAINED = {True: "the base model into its chat model", False: "the chat model on Dolly"}


def render_transfer(before: UnitMap, after: UnitMap, flow: Flow, form: str) -> str:
    """One row per pair of classes of the whole model, for people.

    Args:
        before: The first map.
        after: The second map.
        flow: Their flow over the whole model.
        form: ``markdown`` or ``latex``.
    """
    rows = transfer_rows([flow])
    table = pd.DataFrame(
        {
            "from": rows["from"],
            "to": rows["to"],
            "% of all units": rows["share_of_units_pct"].map("{:.2f}".format),
            f"paper, {_PAPER}": rows["published_share_of_units_pct"].map(_or_gap("{:.2f}")),
            "difference": (rows["share_of_units_pct"] - rows["published_share_of_units_pct"]).map(
                _or_gap("{:+.2f}")
            ),
            "% of parameters": rows["share_of_parameters_pct"].map("{:.2f}".format),
            "% of the class before, Wilson 95%": [
                interval_text(row["of_before_pct"], row["of_before_low"], row["of_before_high"], 1)
                for _, row in rows.iterrows()
            ],
            "chance %": rows["chance_pct"].map("{:.1f}".format),
        }
    )
    return "\n\n".join([format_frame(table, form), prose(_caption(before, after, flow), form)])


def _or_gap(form: str) -> Callable[[float], str]:
    return lambda value: "" if pd.isna(value) else form.format(value)


def _caption(before: UnitMap, after: UnitMap, flow: Flow) -> str:
    base = flow.before == BASE_CLASSES
    notes = "".join(f" Note: {sentence}" for sentence in differences(before, after))
    return (
        f"From {before.provenance.model}, revision {before.provenance.revision}, to "
        f"{after.provenance.model}, revision {after.provenance.revision}.{notes} Class kept: "
        f"{100 * flow.kept('units'):.2f} % of units. Difference: ours less the paper's, in points; "
        "gaps are cells that the paper does not print. Differs in (ours for the paper's): model: "
        f"{after.provenance.model} for {_PAPER}; calibration and training: the maps' own for "
        f"those of {_TRAINED[base]}. Chance: if the class before said nothing. The interval takes "
        "units for independent draws, which they are not."
    )
