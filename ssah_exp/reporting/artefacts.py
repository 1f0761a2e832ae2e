"""Which table each artefact has."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.table1 import render
from ssah_exp.reporting.training_table import render_training


def render_artefact(records: Sequence[RunRecord], form: str) -> str:
    """The table of the records' artefact.

    Args:
        records: At least one, all of one artefact.
        form: ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    table = render if records[0].artefact == "table1_pruning" else render_training
    return table(records, form)
