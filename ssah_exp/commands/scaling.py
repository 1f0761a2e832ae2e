"""`ssah-exp scaling`: time and memory on other machines, worked out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from ssah_exp.errors import ConfigError
from ssah_exp.pipeline.scaling import Rates, table

_GIVEN = ("forward", "card", "link", "network")


def execute(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Print the table.

    Raises:
        ConfigError: A rate is not above 0.
    """
    given = {name: value for name in _GIVEN if (value := getattr(options, name)) is not None}
    for name, value in given.items():
        if not value > 0:
            raise ConfigError(f"--{name}={value:g} is not above 0.")
    print(table(replace(Rates(), **given)))
    return 0
