"""Nested values by dotted key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(
    content: Mapping[str, Any], prefix: str = "", *, into_lists: bool = False
) -> Iterator[tuple[str, Any]]:
    """A key such as ``units.budgets.scu`` and its value, for every leaf of a nested config.

    Args:
        content: The config.
        prefix: What every key begins with.
        into_lists: Go into lists, by number as :func:`at` does; otherwise lists are leaves.
    """
    for key, value in content.items():
        listed = into_lists and isinstance(value, list)
        below = {str(place): item for place, item in enumerate(value)} if listed else value
        if isinstance(below, Mapping) and below:
            yield from dotted(below, f"{prefix}{key}.", into_lists=into_lists)
        else:
            yield f"{prefix}{key}", value


def at(content: Any, key: str) -> Any:
    """The value at a dotted key, with numbers for places in lists; None if there is none."""
    for part in key.split("."):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return None
    return content
