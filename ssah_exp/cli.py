"""The console command `ssah-exp`.

Only the standard library is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from ssah_exp import __version__
from ssah_exp.errors import SsahError

FORMATS = ("markdown", "csv", "json", "latex")


def build_parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    parser = argparse.ArgumentParser(
        prog="ssah-exp",
        description="Experiments on the Superficial Safety Alignment Hypothesis.",
    )
    parser.add_argument("--version", action="version", version=f"ssah-exp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run an experiment (Hydra overrides, -m sweeps, --cfg job)",
        description="Everything behind 'run' goes to Hydra, e.g. ssah-exp run "
        "experiment=quickstart seed=1, or -m units.budgets.scu=0.01,0.02 --cfg job.",
        add_help=False,
    )
    run.set_defaults(module="run")

    tables = commands.add_parser("tables", help="print a table from records, beside the paper's")
    tables.add_argument("artefact", help="e.g. table1_pruning")
    tables.add_argument("--format", choices=FORMATS, default="markdown")
    tables.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    tables.set_defaults(module="tables")

    units = commands.add_parser("units", help="look at a UnitMap")
    actions = units.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="counts and shares per class and layer")
    show.add_argument("path", help="a UnitMap folder, or a run's folder")
    show.add_argument("--format", choices=("text", "json"), default="text")
    units.set_defaults(module="units")

    doctor = commands.add_parser("doctor", help="versions, devices, caches, missing extras")
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.add_argument("--root", default=None, help="where runs lie (default: paths.root)")
    doctor.set_defaults(module="doctor")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 = done, 2 = something given is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if arguments[:1] == ["run"]:
        options, rest = argparse.Namespace(module="run"), arguments[1:]
    else:
        options, rest = parser.parse_args(arguments), []
    command = import_module(f"ssah_exp.commands.{options.module}")
    try:
        return int(command.execute(options, rest))
    except SsahError as error:
        print(f"ssah-exp: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("ssah-exp: interrupted; run the same command to go on", file=sys.stderr)
        return 130
