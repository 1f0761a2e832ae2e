"""Options of `ssah-exp mirror`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssah_exp.options.base import Commands, add_sources

if TYPE_CHECKING:
    import argparse

TRACKERS = ("wandb", "trackio", "csv")
PROJECT = "ssah-exp"


def add(commands: Commands) -> None:
    """Add `mirror`."""
    mirror = commands.add_parser(
        "mirror",
        help="send finished records to a tracker, those it has not yet",
        description="Sends finished records to a tracker. What was sent is noted below ROOT, so it "
        "can be repeated; a record that was made anew is sent again.",
    )
    mirror.add_argument("tracker", choices=TRACKERS)
    add_choice(mirror)
    mirror.add_argument("--offline", action="store_true", help="wandb: write files, send nothing")
    mirror.set_defaults(module="mirror")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add options for which records are sent, and what with them."""
    parser.add_argument(
        "only", nargs="*", metavar="ARTEFACT|RUN", help="artefacts or run ids (default: all)"
    )
    add_sources(parser)
    parser.add_argument("--again", action="store_true", help="also those the tracker has")
    parser.add_argument("--project", default=PROJECT, help="the tracker's project")
    parser.add_argument(
        "--no-deltas", action="store_true", help="without what training changed, which is large"
    )
    parser.add_argument(
        "--completions",
        action="store_true",
        help="with completions to harmful requests, which stay out otherwise",
    )
