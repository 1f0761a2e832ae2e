"""Tables of settings: captions, marked values and notes for people, lines for machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from ssah_exp.reporting.arm_groups import like
from ssah_exp.reporting.beside_paper.sizes import fewer_than_paper, footnote, marked
from ssah_exp.reporting.beside_paper.table import comparison_text
from ssah_exp.reporting.captions import captions_of
from ssah_exp.reporting.notes.coverage import coverage_note
from ssah_exp.reporting.notes.held_classes import TITLE, held_frame
from ssah_exp.reporting.notes.loss_match import match_note
from ssah_exp.reporting.notes.nearness import nearness_notes
from ssah_exp.reporting.notes.shared_units import shared_note
from ssah_exp.reporting.rows import Block, Cell, Row
from ssah_exp.reporting.text import cell_text, format_frame, heading, prose


def settings_text(
    settings: Sequence[Block],
    caption_of: Callable[[Block], str],
    frame_of: Callable[[Block], pd.DataFrame],
    form: str,
) -> list[str]:
    """Paragraphs of every setting.

    Args:
        settings: In order.
        caption_of: Says what was run.
        frame_of: Makes one line per arm.
        form: ``text``, ``markdown`` or ``latex``.
    """
    parts: list[str] = []
    for block, caption in zip(settings, captions_of(settings, caption_of), strict=True):
        parts += [prose(caption, form), format_frame(frame_of(block), form)]
        parts += [prose(note, form) for note in notes_below(block)]
        if (held := held_frame(block)) is not None:
            parts += [prose(TITLE, form), format_frame(held, form)]
        parts += comparison_text(block, form)
    return parts


def notes_below(block: Block) -> list[str]:
    """Sentences without which a setting's table would claim too much, wherever it is shown."""
    notes = (
        footnote(block),
        coverage_note(block.records),
        shared_note(block),
        *nearness_notes(block),
        match_note(block),
    )
    return [note for note in notes if note is not None]


def long_lines(
    settings: Sequence[Block], origin: Callable[[Row, Block], dict[str, Any]]
) -> list[dict[str, Any]]:
    """One line per value of a table for machines.

    Args:
        settings: The settings whose rows are written.
        origin: Gives the columns before the metric, which name the arm and the setting.
    """
    return [
        {
            **origin(row, block),
            "metric": metric,
            **cell.__dict__,
            "fewer_than_paper": fewer_than_paper(block, metric, cell) is not None,
        }
        for block in settings
        for row in block.rows
        for metric, cell in row.cells.items()
    ]


def indented(row: Row) -> str:
    """What a row is called in a table for people; controls stand below their arm, further in."""
    name = like(row.label, row.control)
    return name if row.control is None else f"  {name}"


def marked_cells(row: Row, block: Block) -> dict[str, str]:
    """Heading -> what a table for people says of an arm, column by column.

    A value that some seeds or draws lack says how many have it, ``(2 of 3)``; one from fewer
    examples than the paper's has a dagger.
    """
    cells = {metric: row.cells[metric] for metric in block.metrics}
    return {
        heading(metric): marked(_measured(cell, row, metric), block, metric, cell)
        for metric, cell in cells.items()
    }


def _measured(cell: Cell, row: Row, metric: str) -> str:
    text = cell_text(cell, metric)
    return f"{text} ({cell.repeats} of {row.gathered})" if 0 < cell.repeats < row.gathered else text
