"""`ssah-exp units show`: what a UnitMap holds."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ssah_exp.commands.units import drawn, tell_written, units_at
from ssah_exp.reporting.figures.where import draw_where
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.units.summary import describe


def execute(options: argparse.Namespace) -> int:
    """Print counts and shares; draw them if ``--figure`` is given.

    Raises:
        UnitError: No UnitMap there, or a damaged one.
        ConfigError: A figure of unknown suffix.
    """
    units = units_at(options.path)
    description = describe(units)
    wrote = drawn(options, lambda picture: draw_where(units, picture))
    if options.format == "json":
        print(json.dumps(description, indent=1))
    else:
        _print(description, Terminal())
        tell_written(wrote)
    return 0


def _print(description: dict[str, Any], console: Terminal) -> None:
    console.print(
        f"{description['model']}  revision {description['revision']}  "
        f"statistic {description['statistic']}{' unweighted' * description['unweighted']}",
        markup=False,
    )
    numbers = ("heads", "neurons", "units", "% of units", "% of parameters")
    classes = terminal_table("Classes", ("class",), numbers)
    for name, row in description["classes"].items():
        classes.add_row(
            name,
            f"{row['heads']:.0f}",
            f"{row['neurons']:.0f}",
            f"{row['units']:.0f}",
            f"{100 * row['unit_share']:.2f}",
            f"{100 * row['parameter_share']:.2f}",
        )
    console.print(classes)
    layers = terminal_table("Heads + neurons per layer", (), ("layer", *description["classes"]))
    for row in description["layers"]:
        cells = [f"{row[f'{n}_heads']} + {row[f'{n}_neurons']}" for n in description["classes"]]
        layers.add_row(str(row["layer"]), *cells)
    console.print(layers)
