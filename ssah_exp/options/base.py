"""What the options of several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import argparse

FORMATS = ("markdown", "csv", "json", "latex")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add where records are read from: a store, or folders of records."""
    parser.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    parser.add_argument(
        "--records",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders of record files instead, e.g. experiments/table1_pruning/records, or a "
        "folder that holds */records",
    )


def add_format(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Add the form of what is printed; the first is the default."""
    parser.add_argument("--format", choices=forms, default=forms[0], help="of what is printed")
