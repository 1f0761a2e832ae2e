"""Which table each artefact has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ssah_exp.config.validate import TABLE1, TRAINING_ARTEFACTS
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.table1 import render
from ssah_exp.reporting.training_table import render_training

Renderer = Callable[[Sequence[RunRecord], str], str]
RENDERERS: dict[str, Renderer] = {
    TABLE1: render,
    **dict.fromkeys(TRAINING_ARTEFACTS, render_training),
}


def render_artefact(records: Sequence[RunRecord], form: str) -> str:
    """The table of the records' artefact.

    Args:
        records: At least one, all of one artefact.
        form: ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    return RENDERERS[records[0].artefact](records, form)
