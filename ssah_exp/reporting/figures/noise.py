"""Transfer beside its null, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.reporting.figures.drawing import (
    GREY,
    PAGE,
    new_figure,
    save_figure,
    styled,
    whiskers,
)
from ssah_exp.reporting.transfer_rows import noise_rows
from ssah_exp.units.noise import Noise

_LOOKS = {"trained": ("o", "trained, same examples"), "redrawn": ("s", "not trained, redrawn"),
          "halves": ("^", "not trained, two halves")}  # fmt: skip


@styled()
def draw_noise(found: Sequence[Noise], path: Path) -> Path:
    """Draw, for each class, the share that left it, with and without training.

    Args:
        found: From :func:`ssah_exp.units.noise.transfer_noise`.
        path: Where to write; the suffix decides the format.

    Returns:
        The CSV with the numbers, beside the picture.

    Raises:
        ConfigError: A suffix that cannot be written.
    """
    rows = noise_rows(found)
    left = rows[rows["from"] == rows["to"]]
    figure = new_figure(PAGE * 0.75, 3.2)
    axes = figure.subplots()
    for number, (name, (marker, label)) in enumerate(_LOOKS.items()):
        here = left[left["comparison"] == name].set_index("from").loc[list(CLASSES)]
        means, lows, highs = (
            100 - here[f"of_before_{end}"].to_numpy(float) for end in ("mean", "high", "low")
        )
        axes.errorbar(
            np.arange(len(CLASSES)) + 0.18 * (number - 1),
            means,
            yerr=whiskers(means, lows, highs),
            fmt=marker,
            color="black" if name == "trained" else GREY,
            label=label,
        )
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    axes.set_ylim(0, None)
    axes.set_ylabel("% of the class that changed class, 95% of draws")
    axes.grid(visible=False, axis="x")
    axes.legend()
    return save_figure(figure, path, rows)
