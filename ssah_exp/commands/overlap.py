"""`ssah-exp units overlap`: how far models of one architecture share a class."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from ssah_exp.commands.units import check_draws, drawn, spread_cell, tell_written, units_at
from ssah_exp.errors import UnitError
from ssah_exp.reporting.figures.overlap import draw_overlap
from ssah_exp.reporting.overlap_rows import overlap_rows
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.reporting.text import machine_text, plain_rows
from ssah_exp.units.classes import UnitClass
from ssah_exp.units.overlap import Overlap, overlaps
from ssah_exp.units.unitmap import UnitMap


def execute(options: argparse.Namespace) -> int:
    """Print every pair's overlap beside chance.

    Raises:
        UnitError: No UnitMap there, one name twice, or UnitMaps of different architectures.
        ConfigError: Too few draws, or a figure of unknown suffix.
    """
    check_draws(options, "draws", 100)
    maps = _named(options.maps)
    unit_class = UnitClass[options.unit_class]
    found = overlaps(maps, unit_class, draws=options.draws, seed=options.seed)
    wrote = drawn(options, lambda picture: draw_overlap(found, unit_class, picture))
    rows = overlap_rows(found)
    if options.format == "csv":
        print(machine_text(rows, "csv"))
    elif options.format == "json":
        print(json.dumps({"class": unit_class.name, "pairs": plain_rows(rows)}, indent=1))
    else:
        Terminal().print(_table(found, unit_class))
        tell_written(wrote)
    return 0


def _named(given: Sequence[str]) -> dict[str, UnitMap]:
    """UnitMaps by name: ``NAME=PATH``, or the path's last part."""
    maps: dict[str, UnitMap] = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or Path(item).exists():  # an equals sign may be part of a path
            name, path = Path(item).resolve().name, item
        if name in maps:
            raise UnitError(f"Two UnitMaps are called '{name}'; name them: NAME={path}.")
        maps[name] = units_at(path)
    return maps


def _table(found: Sequence[Overlap], unit_class: UnitClass) -> Table:
    table = terminal_table(
        f"Jaccard overlap of {unit_class.name}; chance: random units, as many per layer and kind, "
        "mean [95%]",
        ("first", "second"),
        ("units", "shared", "Jaccard", "chance", "p"),
    )
    for item in found:
        table.add_row(
            item.first,
            item.second,
            f"{item.units[0]} / {item.units[1]}",
            str(item.shared),
            "" if item.jaccard is None else f"{item.jaccard:.3f}",
            spread_cell(item.chance, 3),
            f"{item.at_chance:.2g}",
        )
    return table
