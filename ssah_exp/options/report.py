"""Options of `ssah-exp report`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_sources


def add(commands: Commands) -> None:
    """Add `report`."""
    report = commands.add_parser("report", help="write one HTML page about all runs, for offline")
    add_sources(report)
    report.add_argument("--out", default="report.html", help="file to write")
    report.set_defaults(module="report")
