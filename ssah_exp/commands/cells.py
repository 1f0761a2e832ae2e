"""Cells of tables that several commands print."""

from __future__ import annotations

from ssah_exp.units.agreement import Spread


def spread_cell(spread: Spread, digits: int) -> str:
    """``mean [low, high]`` for rich, which takes an open bracket for markup; gaps stay empty."""
    if spread.mean is None:
        return ""
    text = f"{spread.mean:.{digits}f}"
    if spread.low is None or spread.high is None:
        return text
    return f"{text} \\[{spread.low:.{digits}f}, {spread.high:.{digits}f}]"
