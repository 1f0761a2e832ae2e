"""`ssah-exp units seeds`: what `units atlas` or `units noise` found, one line per seed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssah_exp.errors import ConfigError, printable
from ssah_exp.reporting.seed_rows import Picked, seeds_frame
from ssah_exp.reporting.text import inert, machine_text


def execute(options: argparse.Namespace) -> int:
    """Print one line per seed, as `ssah-exp claims` reads them.

    Raises:
        ConfigError: A file without its seed, one seed or heading twice, or a column not named
            HEADING=NAME.
        StoreError: A file that neither command wrote, that lacks what is asked for, or has it
            twice.
    """
    columns = _columns(options.column)
    picked = Picked(options.measure, options.before, options.after)
    rows = seeds_frame(_files(options.files), picked, columns)
    if options.format == "json":
        print(machine_text(rows, "json"))
    else:
        shown = inert(rows).to_csv(index=False, float_format="%.4f", lineterminator="\n")
        print(printable(shown), end="")
    return 0


def _columns(given: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for heading, name in (_pair(item, "HEADING=NAME") for item in given):
        if heading in columns:
            raise ConfigError(f"Two columns are named {heading}.")
        columns[heading] = name
    return columns


def _files(given: Sequence[str]) -> dict[int, Path]:
    files: dict[int, Path] = {}
    for item in given:
        seed, path = _pair(item, "SEED=CSV")
        if not seed.isdecimal():
            raise ConfigError(f"'{item}' names no seed; write SEED=CSV.")
        if int(seed) in files:
            raise ConfigError(f"Two files are of seed {seed}.")
        files[int(seed)] = Path(path)
    return files


def _pair(item: str, form: str) -> tuple[str, str]:
    name, equals, rest = item.partition("=")
    if not (equals and name and rest):
        raise ConfigError(f"'{item}' is not of the form {form}.")
    return name, rest
