"""Options of `ssah-exp tables`."""

from __future__ import annotations

from ssah_exp.options.base import FORMATS, Commands, add_format, add_sources


def add(commands: Commands) -> None:
    """Add `tables`."""
    tables = commands.add_parser("tables", help="print a table from records, beside the paper's")
    tables.add_argument(
        "artefact", nargs="?", help="e.g. table1_pruning; without: list those that have records"
    )
    add_format(tables, *FORMATS)
    add_sources(tables)
    tables.set_defaults(module="tables")
