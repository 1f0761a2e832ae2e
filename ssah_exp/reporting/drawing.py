"""What figures share: colours, and how a picture and its numbers are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ssah_exp.cache import storage_errors, write_atomically
from ssah_exp.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# From Okabe and Ito's palette, told apart by colour-blind readers; grey for the bulk.
CLASS_COLOURS = {
    "SCU": "#D55E00",
    "UCU": "#0072B2",
    "CU": "#A6A6A6",
    "RU": "#009E73",
    "utility": "#E69F00",
    "redundant": "#009E73",
}


def save_figure(figure: Figure, path: Path, numbers: pd.DataFrame) -> Path:
    """Write a picture, and the numbers in it as CSV beside it.

    Args:
        figure: What was drawn.
        path: Where to; the suffix decides the format.
        numbers: What the picture shows.

    Returns:
        The CSV's path.

    Raises:
        ConfigError: A suffix that cannot be written.
        StoreError: The disk is full or not writable.
    """
    allowed = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in allowed:
        raise ConfigError(f"Cannot write '{path.suffix}'. Allowed: {', '.join(sorted(allowed))}.")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date inside: the same numbers give the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)
    table = path.with_suffix(".csv")
    write_atomically(table, numbers.to_csv(index=False, lineterminator="\n"))
    return table
