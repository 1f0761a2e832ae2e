"""Names in pictures: of classes, sets and words that were swept, and of fills in titles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROOM = 36  # letters that stand side by side below a panel
_LETTERS = 31  # of a name at an axis
_WIDTH, _LINES = 40, 3  # letters in a line of all names below a panel, and such lines
_SET_TO = {
    "safety": "set to their safety mean, ",
    "utility": "set to their utility mean, ",
    "zero": "set to zero, ",
}


# A GGUF file, with the folders or the package that hold it: its name and how it is quantised.
_GGUF = re.compile(r"(?:[^\s/]+/)*([^\s/]+?)[.-]((?:I?Q\d|B?F\d)\w*)\.gguf\b", re.IGNORECASE)


def model_in_words(identifier: str) -> str:
    """What a title calls a model: of a GGUF file its name and quantisation, not where it lies."""
    return _GGUF.sub(lambda found: f"{found[1]} ({found[2].upper()})", identifier)


def set_to(fill: str) -> str:
    """What a title says of what units are set to; nothing where it is the mean over both sets."""
    return _SET_TO.get(fill, "")


def seeds_in_title(count: int) -> str:
    """How many seeds a picture shows."""
    return f"{count} seed{'s' if count > 1 else ''}"


def named_below(axes: Axes, names: Sequence[str]) -> None:
    """Places 0, 1, ... with their names below, slanted where they would run into each other."""
    labels = axes.set_xticks(range(len(names)), names)
    lined = any("\n" in name for name in names)
    if not lined and sum(map(len, names)) > _ROOM:
        for tick in labels:
            tick.label1.set(rotation=25, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)


def named_in_rows(axes: Axes, names: Sequence[str]) -> None:
    """Places 0, 1, ... from the top, with their names on the left and no lines between them."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def shortened(names: Sequence[str]) -> list[str]:
    """Names with an ellipsis in the middle of long ones, except where that makes two the same."""
    half = (_LETTERS - 1) // 2
    short = [name if len(name) <= _LETTERS else f"{name[:half]}…{name[-half:]}" for name in names]
    counts = Counter(short)
    return [name if counts[made] > 1 else made for name, made in zip(names, short, strict=True)]


def in_lines(names: Sequence[str]) -> list[str]:
    """Names broken into lines that fit side by side below a panel; else :func:`shortened`.

    What tells models apart stands in the middle of their names, where an ellipsis would take it.
    """
    width = _WIDTH // len(names)
    found = [_lines(name, width) for name in names]
    if all(len(lines) <= _LINES and max(map(len, lines)) <= width for lines in found):
        return ["\n".join(lines) for lines in found]
    return shortened(names)


def _lines(name: str, width: int) -> list[str]:
    """Lines of a name, broken behind a space, a hyphen, an underscore or a slash."""
    lines = [""]
    for part in re.findall(r"[^\s\-_/]*[\s\-_/]*", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]
