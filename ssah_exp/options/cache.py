"""Options of `ssah-exp cache`."""

from __future__ import annotations

import argparse
import math

from ssah_exp.options.base import Commands, add_format, add_root


def add(commands: Commands) -> None:
    """Add `cache`."""
    cache = commands.add_parser("cache", help="what stages have kept on disk; delete some of it")
    actions = cache.add_subparsers(dest="action", required=True, metavar="ACTION")

    show = actions.add_parser("show", help="entries and gigabytes of every stage")
    add_format(show, "text", "json")
    add_root(show)

    prune = actions.add_parser(
        "prune",
        help="delete entries; what needs one later computes it anew",
        description="Deletes whole entries and the unfinished work of runs that were ended. "
        "Without --yes it only prints what would go. Computed again on another kind of machine, "
        "results may differ in the last digits.",
    )
    prune.add_argument(
        "stages", nargs="*", metavar="STAGE", help="of these stages, e.g. tune (trained models)"
    )
    prune.add_argument(
        "--unnamed", action="store_true", help="only what no finished run below the root needs"
    )
    prune.add_argument(
        "--unused-for",
        type=_days,
        default=7.0,
        metavar="DAYS",
        help="only what nobody has asked for in so many days; with fewer than your longest job "
        "waits and works, first see that there is none (default: 7)",
    )
    prune.add_argument("--yes", action="store_true", help="delete; otherwise only print")
    add_root(prune)
    for parser in (show, prune):
        parser.set_defaults(module="cache")


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not (math.isfinite(days) and days >= 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of days")
    return days
