"""Tables as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssah_exp.errors import printable


class Terminal(Console):
    """A console of rich that prints no control characters but its own."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As a console does: lines, titles and cells all come by here."""
        return super().render_str(printable(text), **options)


def terminal_table(title: str, words: Iterable[str], numbers: Iterable[str] = ()) -> Table:
    """An empty table of rich: columns of words, then of numbers, which are set flush right.

    Args:
        title: Above the table, flush left; rich markup, as all of the texts.
        words: Headings of the columns of words.
        numbers: Headings of the columns of numbers.
    """
    table = Table(title=title, title_justify="left")
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table
