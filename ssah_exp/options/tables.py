"""Options of `ssah-exp tables`."""

from __future__ import annotations

from ssah_exp.options.base import FORMATS, Commands


def add(commands: Commands) -> None:
    """Add `tables`."""
    tables = commands.add_parser("tables", help="print a table from records, beside the paper's")
    tables.add_argument("artefact", help="e.g. table1_pruning")
    tables.add_argument("--format", choices=FORMATS, default="markdown")
    tables.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    tables.set_defaults(module="tables")
