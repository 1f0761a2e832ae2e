"""Options of the commands that look after sweeps: `status`, `retry-failed`, `cancel`, `logs`."""

from __future__ import annotations

import argparse

from ssah_exp.options.base import Commands, add_format, add_overrides, add_root


def add(commands: Commands) -> None:
    """Add all four."""
    status = commands.add_parser("status", help="how the jobs of a sweep stand")
    _sweep(status)
    status.add_argument("--all", action="store_true", help="one line for every sweep")
    add_format(status, "text", "json")
    # Its name until every other command had --format; scripts that watch sweeps still say it.
    status.add_argument(
        "--json", action="store_const", const="json", dest="format", help=argparse.SUPPRESS
    )
    status.set_defaults(module="status")

    retry = commands.add_parser(
        "retry-failed", help="run again what failed, was ended or never ran, from frozen configs"
    )
    _sweep(retry)
    retry.add_argument(
        "--take-code",
        action="store_true",
        help="run with the code as it is now, even if it changed since the sweep was submitted",
    )
    what = "an option of the launcher, for this and later retries, e.g. hydra.launcher.minutes=480"
    add_overrides(retry, what, "hydra.launcher.KEY=VALUE")
    retry.set_defaults(module="retry_failed")

    cancel = commands.add_parser("cancel", help="end the queued and running jobs of a sweep")
    _sweep(cancel)
    cancel.set_defaults(module="cancel")

    logs = commands.add_parser("logs", help="print what a job printed")
    logs.add_argument("run", metavar="RUN", help="number of the job, or a run id")
    logs.add_argument("--sweep", help="its name (default: the newest)")
    add_root(logs)
    logs.set_defaults(module="logs")


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", help="name or folder of a sweep (default: the newest)")
    add_root(parser)
