"""What the commands of `ssah-exp units` share: maps, checks of options, cells, pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.reporting.drawing import check_picture
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


def check_draws(options: argparse.Namespace, draws: str, least: int, *more: str) -> None:
    """Refuse numbers of draws, seeds and pictures that cannot be, before a model is loaded.

    Args:
        options: With ``seed`` and ``figure``.
        draws: Name of the option that says how many draws.
        least: Of them.
        more: What else is wrong.

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
        check_picture(Path(options.figure))


def spread_cell(spread: Spread, digits: int) -> str:
    """``mean [low, high]`` for rich, which takes some brackets for markup; gaps stay empty."""
    return escape(interval_text(spread.mean, spread.low, spread.high, digits))


def drawn(options: argparse.Namespace, draw: Callable[[Path], Path | list[Path]]) -> list[Path]:
    """The picture that ``--figure`` asks for and the CSVs beside it; nothing where it does not."""
    if options.figure is None:
        return []
    picture = Path(options.figure)
    numbers = draw(picture)
    return [picture, *(numbers if isinstance(numbers, list) else [numbers])]


def tell_written(wrote: list[Path]) -> None:
    """A line for each."""
    for path in wrote:
        print(f"wrote {path}")
