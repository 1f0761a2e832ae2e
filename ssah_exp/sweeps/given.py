"""Options of launchers and sweepers, which no schema of a run knows: names and kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ssah_exp.config.kinds import fits, hints_of, wanted
from ssah_exp.config.ranges import refuse
from ssah_exp.errors import did_you_mean

Options = TypeVar("Options")


def options_of(schema: type[Options], given: Mapping[str, Any], where: str) -> Options:
    """Make a dataclass of options from plain values.

    Args:
        schema: The dataclass, which checks ranges itself.
        given: Plain values by name.
        where: The config key below which the options stand, for error messages.

    Raises:
        ConfigError: Lists unknown names and values of the wrong kind, or else values out of range.
    """
    refuse(_problems(schema, given, where))
    return schema(**given)


def _problems(schema: type, given: Mapping[str, Any], where: str) -> Iterator[str]:
    hints = hints_of(schema)
    known = [item.name for item in fields(schema)]
    for name, value in given.items():
        if name not in known:
            yield f"Unknown key '{where}.{name}'.{did_you_mean(name, known)}"
        elif not fits(value, hints[name], numbers_are_text=True):
            yield f"{where}.{name}={value} is not {wanted(value, hints[name])}."
