"""Options of `ssah-exp claims`."""

from __future__ import annotations

from ssah_exp.options.base import Commands, add_sources, add_table_format


def add(commands: Commands) -> None:
    """Add `claims`."""
    claims = commands.add_parser(
        "claims",
        help="test the claims of a file on records: p-values adjusted by Holm, and verdicts",
        description="Each claim names arms, references and the direction it expects; it is "
        "supported, not supported, undecided at this n, or not run.",
    )
    claims.add_argument("file", help="e.g. experiments/paper_smollm2/claims.yaml")
    add_table_format(claims)
    claims.add_argument(
        "--records-only",
        action="store_true",
        help="leave out tests on csv files that lie beside the claims",
    )
    add_sources(claims)
    claims.set_defaults(module="claims")
