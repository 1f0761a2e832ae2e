"""What the options of several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ssah_exp.reporting.fitted import form_for_people

if TYPE_CHECKING:
    import argparse

FORMATS = ("text", "markdown", "csv", "json", "latex")
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add ``--root`` and ``--records``: where records are read from, a store or folders."""
    add_root(parser)
    parser.add_argument(
        "--records",
        nargs="+",
        default=[],
        metavar="DIR",
        help="read records from these folders, e.g. experiments/table1_pruning/records, or from "
        "a folder that holds */records; records below --root are read as well only if it is given",
    )


def add_root(parser: argparse.ArgumentParser, what: str = "where runs lie") -> None:
    """Add ``--root``; its help begins with ``what``."""
    parser.add_argument("--root", help=f"{what} (default: SSAH_ROOT if it is set, else outputs)")


def add_overrides(parser: argparse.ArgumentParser, what: str, metavar: str = "KEY=VALUE") -> None:
    """Add ``--set``, which may be given several times; ``what`` is its help."""
    parser.add_argument("--set", action="append", default=[], metavar=metavar, help=what)


def add_format(parser: argparse.ArgumentParser, *forms: str) -> None:
    """Add ``--format``, the form of what is printed; the first of ``forms`` is the default."""
    parser.add_argument("--format", choices=forms, default=forms[0], help="of what is printed")


def add_table_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--format`` of a table: in a terminal as wide as that, elsewhere Markdown."""
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=form_for_people(),
        help="of what is printed; text is as wide as the terminal (default: text in a terminal, "
        "else markdown)",
    )
