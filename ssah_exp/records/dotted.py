"""Nested values by dotted key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def dotted(
    content: Mapping[str, Any],
    prefix: str = "",
    *,
    into: Callable[[list[Any]], bool] = lambda items: False,
) -> Iterator[tuple[str, Any]]:
    """A key such as ``units.budgets.scu`` and its value, for every leaf of a nested config.

    Args:
        content: The config.
        prefix: What every key begins with.
        into: Whether to go into a list, by number as :func:`at` does; otherwise it is a leaf.
    """
    for key, value in content.items():
        listed = isinstance(value, list) and into(value)
        below = {str(place): item for place, item in enumerate(value)} if listed else value
        if isinstance(below, Mapping) and below:
            yield from dotted(below, f"{prefix}{key}.", into=into)
        else:
            yield f"{prefix}{key}", value


def at(content: Any, key: str, absent: Any = None) -> Any:
    """The value at a dotted key, with numbers for places in lists; ``absent`` if there is none."""
    for part in key.split("."):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return absent
    return content
