"""The console command `ssah-exp`.

Nothing heavier than the standard library and each command's options is imported here, so that
`--help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from io import TextIOWrapper
from typing import Any

from ssah_exp import __version__
from ssah_exp.errors import (
    IncompleteError,
    SsahError,
    did_you_mean,
    ending_behind,
    plain_warnings,
    printable,
)
from ssah_exp.options import (
    bench,
    cache,
    claims,
    compare,
    delta,
    doctor,
    export,
    figure,
    judges,
    mirror,
    report,
    run,
    scaling,
    sweeps,
    tables,
    units,
    wandb,
)
from ssah_exp.sweeps.ending import tidied_up

OPTIONS = (
    run,
    sweeps,
    tables,
    compare,
    claims,
    figure,
    report,
    mirror,
    wandb,
    units,
    delta,
    export,
    judges,
    cache,
    doctor,
    bench,
    scaling,
)

_FULL = (errno.ENOSPC, errno.EDQUOT)

# Commands that, repeated, go on from where they were interrupted; the others begin anew.
GO_ON = ("run", "retry_failed", "judges", "mirror")


class _Help(argparse.HelpFormatter):
    """Names every default that a help text does not explain itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = any(action.default is item for item in (None, False, argparse.SUPPRESS))
        if action.help is None or nothing or action.default == [] or "default" in action.help:
            return action.help
        return f"{action.help} (default: %(default)s)"


class _Parser(argparse.ArgumentParser):
    """A parser that, like all its subcommands, writes help by :class:`_Help`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, **options)
        self._in_two_passes = False

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest match, too: argparse lists what is allowed and leaves the search."""
        if action.choices is not None and value not in action.choices:
            near = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"invalid choice: '{value}'.{near}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here, where the usage is the subcommand's own."""
        options, rest = super().parse_known_args(args, namespace)
        if self._in_two_passes:
            return options, rest
        if rest and self._subparsers is None and not any(word.startswith("-") for word in rest):
            options, rest = self._in_passes(args, namespace)
        if rest:
            unknown = next((word for word in rest if word.startswith("-")), None)
            allowed = self._option_string_actions
            near = did_you_mean(unknown.partition("=")[0], allowed) if unknown else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{'.' if near else ''}{near}")
        return options, rest

    def _in_passes(self, args: Any, namespace: Any) -> Any:
        """Options first, then the rest, so that ``mirror csv --again ARTEFACT`` is understood.

        Many versions of argparse take an argument that may be left out for left out if an option
        stands before it.
        """
        self._in_two_passes = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._in_two_passes = False


def build_parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    parser = _Parser(
        prog="ssah-exp",
        description="Experiments on the Superficial Safety Alignment Hypothesis.",
    )
    parser.add_argument("--version", action="version", version=f"ssah-exp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for options in OPTIONS:
        options.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 = done, 1 = a part failed, 2 = wrong input, 130 = interrupted."""
    if isinstance(sys.stdout, TextIOWrapper):  # a dagger in a table must not raise
        sys.stdout.reconfigure(errors="replace")
    if not (sys.stderr and sys.stderr.isatty()):
        # Bars that libraries draw in a log; tqdm reads this when it is imported.
        os.environ.setdefault("TQDM_DISABLE", "1")
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if arguments[:1] == ["run"]:
        options = argparse.Namespace(module="run", words=arguments[1:])
    else:
        options = parser.parse_args(arguments)
    code = int(options.module in GO_ON)
    try:
        # A run needs no tidying up after TERM: its checkpoints and its cache take care of that.
        with plain_warnings(), nullcontext() if options.module == "run" else tidied_up():
            # Imported in here, because importing libraries takes most commands their first seconds.
            command = import_module(f"ssah_exp.commands.{options.module}")
            code = int(command.execute(options))
            print(end="", flush=True)
            return code
    except BrokenPipeError:  # the reader has seen enough; what was left to do is not done
        _print_no_more()
        return code
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich makes this of it
            return code
        raise
    except KeyboardInterrupt as error:
        return _interrupted(error, options.module)
    except Exception as error:
        ending = ending_behind(error)
        if isinstance(ending, KeyboardInterrupt):
            return _interrupted(ending, options.module)
        if ending is not None:
            raise ending from error
        if isinstance(error, OSError) and error.errno in _FULL:
            _print_no_more()
            what = error.filename or "output was not written whole"  # an open stream has no name
            print(f"ssah-exp: {error.strerror}: {what}", file=sys.stderr)
            return code or 2
        if not isinstance(error, SsahError):
            raise
        print(f"ssah-exp: {printable(str(error))}", file=sys.stderr)
        return 1 if isinstance(error, IncompleteError) else 2


def _print_no_more() -> None:
    """Send what is left to print nowhere; else Python would try once more and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(by: KeyboardInterrupt, module: str) -> int:
    how = str(by) or ("run the same command to go on" if module in GO_ON else "")
    print(f"ssah-exp: interrupted; {how}" if how else "ssah-exp: interrupted", file=sys.stderr)
    return 130
