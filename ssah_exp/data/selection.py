"""Which rows of a file or data set are used, and how their columns become text."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ssah_exp.data.files import Row
from ssah_exp.errors import DataError, did_you_mean

Item = TypeVar("Item")
_BLANK: ContextVar[dict[str, int] | None] = ContextVar("blank", default=None)


@contextmanager
def counting_blanks() -> Iterator[dict[str, int]]:
    """Count the blank rows left out within the block, by origin; the mapping fills meanwhile."""
    found: dict[str, int] = {}
    token = _BLANK.set(found)
    try:
        yield found
    finally:
        _BLANK.reset(token)


class _LackingError(DataError):
    """A row lacks a column.

    Attributes:
        row: The row.
        name: The column.
    """

    row: Row
    name: str


@contextmanager
def telling_rows_apart(rows: Sequence[Row]) -> Iterator[None]:
    """Within the block, say which row lacks a column that another has; counted if one does.

    Raises:
        DataError: A column is missing.
    """
    try:
        yield
    except _LackingError as error:
        which = ""
        if any(error.name in row for row in rows):
            at = next((at for at, row in enumerate(rows, start=1) if row is error.row), None)
            which = "" if at is None else f" Row {at} of {len(rows)} lacks it."
        raise DataError(f"{error}{which}") from error


@dataclass(frozen=True, kw_only=True)
class RowSelection:
    """Which rows to use.

    Attributes:
        where: Column -> value that a row must have.
        start: First row (after ``where``).
        stop: Row to stop before, or None for all.
        every: Keep every k-th of these rows: a smaller set of the same make-up.
        sample: If set, draw this many rows without replacement by the run's seed.
    """

    where: dict[str, Any] = field(default_factory=dict)
    start: int = 0
    stop: int | None = None
    every: int = 1
    sample: int | None = None

    def select(
        self,
        rows: Sequence[Row],
        origin: str,
        seed: int,
        usable: Callable[[Row], bool] = lambda row: True,
    ) -> list[Row]:
        """Select rows.

        Args:
            rows: All rows.
            origin: Where they come from, for error messages.
            seed: Decides ``sample``.
            usable: Whether a row that matches ``where`` is not blank; others are left out before
                ``start``, ``stop`` and ``every`` count.

        Raises:
            DataError: A column is missing, nothing matches, there are too few rows, ``start`` or
                ``stop`` is negative, or ``every`` or ``sample`` is below 1.
        """
        lowest = {"start": 0, "stop": 0, "every": 1, "sample": 1}
        for name, low in lowest.items():
            number = getattr(self, name)
            if number is not None and number < low:
                raise DataError(f"{origin}: {name}={number} is below {low}.")
        with telling_rows_apart(rows):
            matching = [row for row in rows if self._matches(row, origin)]
            kept = [row for row in matching if usable(row)]
        _count(origin, len(matching) - len(kept))
        if matching and not kept:
            raise DataError(f"{origin}: the request is blank in all of {len(matching)} rows.")
        kept = kept[self.start : self.stop : self.every]
        if not kept:
            raise DataError(
                f"{origin}: no row matches where={dict(self.where)}, start={self.start}, "
                f"stop={self.stop}. The source has {len(rows)} rows; start and stop count from 0, "
                "after where."
            )
        if self.sample is not None:
            if self.sample > len(kept):
                raise DataError(f"{origin}: {self.sample} rows asked for, {len(kept)} there.")
            kept = random.Random(seed).sample(kept, self.sample)
        return kept

    def _matches(self, row: Row, origin: str) -> bool:
        return all(str(column(row, key, origin)) == str(val) for key, val in self.where.items())


def _count(origin: str, blank: int) -> None:
    """Note ``blank`` for :func:`counting_blanks`; of a file read twice, the larger count stays."""
    found = _BLANK.get()
    if found is not None and blank:
        found[origin] = max(blank, found.get(origin, 0))


def evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """``count`` items, evenly spread: data sets are often sorted by category. None = all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[at * len(items) // count] for at in range(count)]


def column(row: Row, name: str, origin: str) -> Any:
    """One column of a row.

    Raises:
        DataError: There is none of that name; the message has the nearest.
    """
    if name not in row:
        columns = [str(key) for key in row]
        hint = did_you_mean(name, columns)
        error = _LackingError(f"{origin} has no column '{name}'.{hint}")
        error.row, error.name = row, name
        raise error
    return row[name]


def render(template: str, row: Row, origin: str) -> str:
    """A format string over columns, filled in; an empty cell is an empty string.

    What stands between braces is a column's name as it is, dots, brackets and digits included.

    Raises:
        DataError: ``template`` is no format string, is the bare name of a column, or names a
            column that is not there or holds lists or objects.
    """
    formatter, text, fixed = string.Formatter(), "", True
    try:
        for literal, name, spec, conversion in formatter.parse(template):
            text += literal
            if name is not None:
                fixed = False
                cell = _text_of(row, name, origin)
                text += format(formatter.convert_field(cell, conversion), spec or "")
    except ValueError as error:
        raise DataError(f"{origin}: {template!r} is no format string: {error}.") from error
    if fixed:
        _refuse_a_bare_name(template, row, origin)
    return text.strip()


def _refuse_a_bare_name(template: str, row: Row, origin: str) -> None:
    """Refuse ``goal`` and ``{{goal}}`` for the column ``goal``: every row would say that word."""
    name = template.strip("{} ")
    if name and name in row:
        raise DataError(
            f"{origin}: {template!r} is the name of a column, and would be the text of every row. "
            f"Write '{{{name}}}' for what the column holds."
        )


def _text_of(row: Row, name: str, origin: str) -> Any:
    cell = column(row, name, origin)
    if isinstance(cell, (list, Mapping)):
        raise DataError(
            f"{origin}: column '{name}' holds {'a list' if isinstance(cell, list) else 'an object'}"
            ", not text. ssah_exp.data.conversations.ConversationSource reads lists of messages."
        )
    return filled(cell)


def filled(cell: Any) -> Any:
    """A cell's value; an empty string where it holds none, which pandas writes as NaN."""
    none = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if none else cell


def asks(template: str, row: Row, origin: str) -> bool:
    """Whether a row's request says anything; spreadsheets end in rows of blank cells.

    A template without columns always counts as saying something, even an empty one.
    """
    return "{" not in template or bool(render(template, row, origin))
