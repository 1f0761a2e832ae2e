"""Options of launchers and sweepers, which no schema of a run knows: names and kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ssah_exp.errors import ConfigError, did_you_mean

# What a value may be, and how it is called; text may be any single value.
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str, int, float), "a word"),
    list: ((list, tuple), "a list"),
    dict: ((dict,), "a mapping"),
    NoneType: ((NoneType,), "null"),
}
Options = TypeVar("Options")


def options_of(schema: type[Options], given: Mapping[str, Any], where: str) -> Options:
    """Make a dataclass of options from plain values.

    Args:
        schema: The dataclass; it checks ranges itself.
        given: Plain values by name.
        where: The config key they stand below.

    Raises:
        ConfigError: Lists unknown names and values of another kind; or values out of range.
    """
    problems = list(_problems(schema, given, where))
    if problems:
        raise ConfigError("\n".join(problems))
    return schema(**given)


def _problems(schema: type, given: Mapping[str, Any], where: str) -> Iterator[str]:
    hints = get_type_hints(schema)
    known = [item.name for item in fields(schema)]
    for name, value in given.items():
        if name not in known:
            yield f"Unknown key '{where}.{name}'.{did_you_mean(name, known)}"
            continue
        hint = hints[name]
        kinds = get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
        if not any(_is(value, kind) for kind in kinds):
            wanted = " or ".join(_KINDS[kind][1] for kind in kinds)
            yield f"{where}.{name}={value} is not {wanted}."


def _is(value: Any, kind: type) -> bool:
    """``true`` is no number, whatever Python says."""
    return isinstance(value, _KINDS[kind][0]) and not isinstance(value, bool)
