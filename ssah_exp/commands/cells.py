"""Cells of tables that several commands print."""

from __future__ import annotations

from rich.markup import escape

from ssah_exp.reporting.text import interval_text
from ssah_exp.units.agreement import Spread


def spread_cell(spread: Spread, digits: int) -> str:
    """``mean [low, high]`` for rich, which takes some brackets for markup; gaps stay empty."""
    return escape(interval_text(spread.mean, spread.low, spread.high, digits))
