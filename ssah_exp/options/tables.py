"""Options of `ssah-exp tables`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_sources, add_table_format


def add(commands: Commands) -> None:
    """Add `tables`."""
    tables = commands.add_parser("tables", help="print a table from records, beside the paper's")
    tables.add_argument(
        "artefact", nargs="?", help="e.g. table1_pruning; without: list those that have records"
    )
    add_table_format(tables)
    add_sources(tables)
    tables.set_defaults(module="tables")
