"""Options of `ssah-exp run`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from ssah_exp.options.base import Commands


def add(commands: Commands) -> None:
    """Add `run`; what follows it, `--help` included, goes to Hydra."""
    run = commands.add_parser(
        "run", help="run an experiment (Hydra overrides, -m sweeps, --cfg job)", add_help=False
    )
    run.set_defaults(module="run")


@contextmanager
def choices_only(asked: bool) -> Iterator[None]:
    """If Hydra's help was ``asked`` for, leave out of it the files that others are built on.

    Their names begin with ``_``, and Hydra would list them among the choices of a group.
    """
    if not asked:
        yield
        return
    text = StringIO()
    try:
        with redirect_stdout(text):
            yield
    finally:
        print(re.sub(r"(?m)(?<=[:,] )_\w+, ", "", text.getvalue()), end="")
