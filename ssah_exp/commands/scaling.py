"""`ssah-exp scaling`: time and memory on other machines, worked out."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssah_exp.bench.extrapolating import growth_table
from ssah_exp.bench.scaling import Rates, table
from ssah_exp.config.ranges import refuse
from ssah_exp.errors import ConfigError, StoreError

_GIVEN = ("forward", "card", "link", "network")


def execute(options: argparse.Namespace) -> int:
    """Print the table, or one extrapolated from measured growth curves.

    Raises:
        ConfigError: A rate is not above 0, or is given beside growth curves.
        StoreError: The curves cannot be read, or not be continued.
    """
    given = {name: value for name in _GIVEN if (value := getattr(options, name)) is not None}
    if options.growth:
        refuse(f"--{name} is not read with --growth, whose report has its own." for name in given)
        print(_continued(Path(options.growth)))
        return 0
    for name, value in given.items():
        if not value > 0:
            raise ConfigError(f"--{name}={value:g} is not above 0.")
    print(table(replace(Rates(), **given)))
    return 0


def _continued(path: Path) -> str:
    report = _read(path)
    try:
        return growth_table(report)
    except ValueError as error:
        raise StoreError(f"{path} cannot be continued: {error}") from error
    except (LookupError, TypeError) as error:
        raise StoreError(f"{path} lacks something of a report ({error}); measure anew.") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"Growth curves {path} cannot be read: {error}") from error
    if not isinstance(report, dict) or report.get("bench") != "growth":
        raise StoreError(f"{path} is no report of `ssah-exp bench growth --format json`.")
    return report
