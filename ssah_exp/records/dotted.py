"""Nested values by dotted key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``units.budgets.scu`` and its value, for every leaf of a nested config; lists are leaves."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def at(content: Any, key: str) -> Any:
    """What stands at a dotted key, in a list by number as in overrides; None where nothing does."""
    for part in key.split("."):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return None
    return content
