"""One setting in a table for people: what was run, its arms, what is marked, and the difference."""

from __future__ import annotations

import pandas as pd

from ssah_exp.reporting.beside_paper.table import comparison_text
from ssah_exp.reporting.coverage import coverage_note
from ssah_exp.reporting.paper_sizes import footnote
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.text import format_frame, prose


def setting_text(
    block: Block, caption: str, frame: pd.DataFrame, form: str, remark: str | None = None
) -> list[str]:
    """Paragraphs of one setting, blank lines between them.

    Args:
        block: The setting.
        caption: What was run.
        frame: One line per arm.
        form: ``markdown`` or ``latex``.
        remark: What else is to be known of the arms.
    """
    parts = [prose(caption, form), "", format_frame(frame, form), ""]
    for note in (footnote(block), coverage_note(block.records), remark):
        if note is not None:
            parts += [prose(note, form), ""]
    return parts + comparison_text(block, form)
