"""Tables that fit a terminal: cells fold at words, and what still is too wide stands in parts."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import TextWrapper
from typing import TYPE_CHECKING

from ssah_exp.errors import printable

if TYPE_CHECKING:  # options import this module, and must not wait for pandas
    import pandas as pd

_GAP = "  "
_LEAST = 20  # letters of a line
_MOST_KEYS = 4  # leading columns that every part of a table repeats
_KEYS_SHARE = 0.45  # of a line: up to here no leading column folds
_PROSE, _OF_PROSE = 40, 16  # letters from which a cell is prose, and the least width of prose
# An interval, and a number with its sign or unit, stay on one line: no blank there to fold at.
_TOGETHER = re.compile(r"\[[^\[\]]{1,40}\](?: †)?|< (?=\d)|(?<=\d) %")
_FIRM = "\N{NO-BREAK SPACE}"


class _Wrapper(TextWrapper):
    """Folds at blanks and, in names, behind hyphens, slashes and underscores."""

    wordsep_simple_re = re.compile(r"([\t\n\r ]+|(?<=\w[-/_])(?=\w))")

    def __init__(self, width: int, inset: str = "") -> None:
        super().__init__(width, subsequent_indent=inset, break_on_hyphens=False)


@dataclass(frozen=True)
class _Column:
    """Texts of a column, the heading first, and between which widths it makes sense.

    Attributes:
        texts: Without control characters, with firm blanks within intervals.
        least: So many letters fold no word; of prose a few words side by side.
        whole: So many letters fold nothing.
    """

    texts: list[str]
    least: int
    whole: int


def form_for_people() -> str:
    """The form of a table that nobody asked for in another one: ``text`` or ``markdown``."""
    return "text" if sys.stdout and sys.stdout.isatty() else "markdown"


def terminal_width() -> int:
    """Columns of the terminal, of ``COLUMNS`` if it is set; 80 where there is neither."""
    return shutil.get_terminal_size((80, 24)).columns


def fitted_prose(text: str, width: int) -> str:
    """A paragraph folded at words, without control characters."""
    return _Wrapper(max(width, _LEAST)).fill(printable(text))


def fitted(frame: pd.DataFrame, width: int) -> str:
    """A table in lines of at most ``width`` letters.

    A table that is too wide folds its cells at words; one that is still too wide is printed in
    parts, one below the other, each beginning with the columns that tell its rows apart.

    Args:
        frame: At least one column; cells that are no text are written as ``str`` does, gaps empty.
        width: Of narrower terminals than 20 letters, 20.
    """
    width = max(width, _LEAST)
    cells = zip(*frame.to_numpy(dtype=object).tolist(), strict=True)
    columns = [_column([name, *below]) for name, below in zip(frame.columns, cells, strict=True)]
    wholes = [column.whole for column in columns]
    if _together(wholes) <= width:
        return _lines(columns, wholes, keys=len(columns))
    keys, rest = columns[: _keys(columns)], columns[_keys(columns) :]
    narrow = [key.whole for key in keys]
    if _together(narrow) > _KEYS_SHARE * width:
        narrow = _narrowed([key.least for key in keys], width // 2)
    return "\n\n".join(
        _lines([*keys, *part], _widened([*keys, *part], [*narrow, *widths], width), len(keys))
        for part, widths in _parts(rest, width - _together(narrow) - len(_GAP))
    )


def _column(cells: Iterable[object]) -> _Column:
    texts = [_text(cell) for cell in cells]
    pieces = [len(piece) for text in texts for piece in text.split(" ")]
    whole = max(map(len, texts))
    least = max(max(pieces), _OF_PROSE if whole >= _PROSE else 0)
    return _Column(texts, min(least, whole), whole)


def _text(cell: object) -> str:
    gap = cell is None or (isinstance(cell, float) and math.isnan(cell))
    text = "" if gap else printable(str(cell)).rstrip()
    return _TOGETHER.sub(lambda found: found[0].replace(" ", _FIRM), text)


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * max(len(widths) - 1, 0)


def _keys(columns: Sequence[_Column]) -> int:
    """How many leading columns tell all rows apart; one column at least is none of them."""
    most = min(_MOST_KEYS, len(columns) - 1)
    rows = list(zip(*(column.texts[1:] for column in columns), strict=True))
    return next((n for n in range(1, most) if len({row[:n] for row in rows}) == len(rows)), most)


def _narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Widths with the largest cut so far that all together fit, words or not."""
    made = list(widths)
    while made and _together(made) > room and max(made) > 1:
        made[made.index(max(made))] -= 1
    return made


def _parts(columns: Sequence[_Column], room: int) -> Iterator[tuple[list[_Column], list[int]]]:
    """As many columns in each part as have room at their least width, and these widths."""
    part: list[_Column] = []
    widths: list[int] = []
    for column in columns:
        least = min(column.least, room)
        if part and _together([*widths, least]) > room:
            yield part, widths
            part, widths = [], []
        part.append(column)
        widths.append(least)
    yield part, widths


def _widened(columns: Sequence[_Column], widths: Sequence[int], width: int) -> list[int]:
    """Widths with what the line leaves over: first to those that then need not fold at all."""
    made, spare = list(widths), width - _together(widths)
    by_need = sorted(range(len(made)), key=lambda at: columns[at].whole - made[at])
    for at in by_need:
        more = min(columns[at].whole - made[at], spare)
        made[at] += more
        spare -= more
    return made


def _lines(columns: Sequence[_Column], widths: Sequence[int], keys: int) -> str:
    """Heading, a line of dashes and the rows, with air between them where a reader needs it."""
    heading, *rows = zip(*(column.texts for column in columns), strict=True)
    folded = [[_folded(text, at) for text, at in zip(row, widths, strict=True)] for row in rows]
    # What a row is called must not run into the next row's name, nor high rows into each other.
    airy = any(max(map(len, row)) > 2 or max(map(len, row[:keys])) > 1 for row in folded)
    above = [_folded(text, at) for text, at in zip(heading, widths, strict=True)]
    blocks = [_row([*above], widths), _GAP.join("-" * at for at in widths)]
    body = ("\n\n" if airy else "\n").join(_row(row, widths) for row in folded)
    return "\n".join([*blocks, body]).replace(_FIRM, " ")


def _folded(text: str, width: int) -> list[str]:
    inset = " " * (len(text) - len(text.lstrip(" ")))
    return _Wrapper(width, inset if len(inset) < width else "").wrap(text) or [""]


def _row(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    lines = [
        _GAP.join(
            (cell[at] if at < len(cell) else "").ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        ).rstrip()
        for at in range(max(map(len, cells)))
    ]
    return "\n".join(lines)
