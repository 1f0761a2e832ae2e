"""What the commands of `ssah-exp units` share: UnitMaps, checks of options, cells, pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.reporting.figures.drawing import check_picture, units_table
from ssah_exp.reporting.text import interval_text
from ssah_exp.units.agreement import Spread
from ssah_exp.units.unitmap import UnitMap


def units_at(path: str) -> UnitMap:
    """Load a UnitMap from its folder or from the folder of the run that made it.

    Raises:
        UnitError: No UnitMap there, or a damaged one.
    """
    folder = Path(path)
    return UnitMap.load(folder / "unitmap" if (folder / "unitmap").is_dir() else folder)


def check_draws(
    options: argparse.Namespace, draws: str, least: int, *more: str, of_units: bool = False
) -> None:
    """Refuse impossible numbers of draws, seeds and pictures before a model is loaded.

    Args:
        options: With ``seed`` and ``figure``.
        draws: Name of the option that says how many draws.
        least: Smallest number of draws.
        more: Further problems that the caller found.
        of_units: Whether the figure has a table of single units, too.

    Raises:
        ConfigError: Lists what is wrong.
    """
    refuse(
        [
            *at_least(f"--{draws}", getattr(options, draws), least),
            *at_least("--seed", options.seed, 0),
            *more,
        ]
    )
    if options.figure is not None:
        picture = Path(options.figure)
        check_picture(picture, *([units_table(picture)] if of_units else []))


def spread_cell(spread: Spread, digits: int) -> str:
    """``mean [low, high]``, escaped for rich, to which brackets are markup; empty for a gap."""
    return escape(interval_text(spread.mean, spread.low, spread.high, digits))


def drawn(options: argparse.Namespace, draw: Callable[[Path], Path | list[Path]]) -> list[Path]:
    """Draw what ``--figure`` asks for; return paths of the picture and the CSVs beside it, if any.

    Args:
        options: With ``figure``.
        draw: Draws the picture at a path, and returns where it wrote its numbers.
    """
    if options.figure is None:
        return []
    picture = Path(options.figure)
    numbers = draw(picture)
    return [picture, *(numbers if isinstance(numbers, list) else [numbers])]


def tell_written(wrote: list[Path]) -> None:
    """Print a line for each path."""
    for path in wrote:
        print(f"wrote {path}")
