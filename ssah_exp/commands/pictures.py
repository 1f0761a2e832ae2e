"""Pictures that several commands draw beside what they print."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


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
