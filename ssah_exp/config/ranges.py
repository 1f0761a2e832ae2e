"""Checks of single values; each yields what is wrong, in a sentence that says what is allowed.

None is never wrong here: it stands for a key that may be null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable

from ssah_exp.errors import ConfigError, did_you_mean

# Names become parts of metrics' names, between signs such as ``/``, and of files' names.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def refuse(problems: Iterable[str]) -> None:
    """Raise one error for everything that is wrong.

    Raises:
        ConfigError: There is a problem; each has a line.
    """
    listed = list(problems)
    if listed:
        raise ConfigError("\n".join(listed))


def named(key: str, name: str) -> Iterable[str]:
    """Complain about a name that could not be part of a metric's or a file's."""
    if not _NAME.fullmatch(name):
        yield f"{key}: a name has letters, digits, '_' and '-' only, and at most 64 of them."


def choice(key: str, value: str | None, allowed: Collection[str]) -> Iterable[str]:
    """Complain unless ``value`` is allowed."""
    if value is not None and value not in allowed:
        yield f"{key}={value}.{did_you_mean(str(value), allowed)}"


def choices(
    key: str, values: list[str], allowed: Collection[str], *, empty: bool = False
) -> Iterable[str]:
    """Complain about an empty list, repeats and values that are not allowed."""
    if not values and not empty:
        yield f"{key} is empty. Allowed: {', '.join(allowed)}."
    if len(set(values)) != len(values):
        yield f"{key} names one value twice: {', '.join(values)}."
    for value in values:
        yield from choice(key, value, allowed)


def at_least(key: str, value: float | None, low: float) -> Iterable[str]:
    """Complain unless ``value >= low`` and finite."""
    if value is not None and not value >= low:
        yield f"{key}={value:g} is below {low:g}."
    elif value == math.inf:
        yield f"{key}={value:g} is not finite."


def above(key: str, value: float | None, low: float) -> Iterable[str]:
    """Complain unless ``value > low`` and finite."""
    if value is not None and not value > low:
        yield f"{key}={value:g} is not above {low:g}."
    elif value == math.inf:
        yield f"{key}={value:g} is not finite."


def within(
    key: str, value: float | None, low: float, high: float, *, open_low: bool = False
) -> Iterable[str]:
    """Complain unless ``low <= value <= high``, or ``low < value`` with ``open_low``."""
    if value is None:
        return
    inside = (value > low if open_low else value >= low) and value <= high
    if not inside:
        bracket = "(" if open_low else "["
        yield f"{key}={value:g} lies outside {bracket}{low:g}, {high:g}]."
