"""Whether plain values from a config are what a parameter's annotation asks for."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_SCALARS: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float)}
_LISTS = (list, tuple, Sequence, Collection)
_ANYTHING = (object, Any, Callable)
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "null",
}


def hints_of(made: type) -> dict[str, Any]:
    """Parameter -> annotation, of a class's constructor; empty if any cannot be resolved."""
    try:
        return get_type_hints(made if is_dataclass(made) else made.__init__)  # type: ignore[misc]
    except (NameError, TypeError):  # imported for type checkers only
        return {}


def fits(value: Any, hint: Any, *, numbers_are_text: bool = False) -> bool:
    """Whether ``value`` may stand where ``hint`` is written.

    Args:
        value: Plain: numbers, texts, lists, mappings, None. ``true`` is no number here.
        hint: Annotation. A class other than those of plain values takes a mapping, from which it
            is made; ``Any``, a callable and what is no class (a type variable) take everything.
        numbers_are_text: Whether a number may stand for a text, as job names may.
    """
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind in (types.UnionType, Union):
        return any(fits(value, item, numbers_are_text=numbers_are_text) for item in arguments)
    if kind is Literal:
        return value in arguments
    if not isinstance(kind, type) or kind in _ANYTHING:
        return True
    if kind in _SCALARS:
        return isinstance(value, _SCALARS[kind]) and isinstance(value, bool) == (kind is bool)
    if issubclass(kind, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return isinstance(value, str) or (numbers_are_text and number)
    if kind is types.NoneType:
        return value is None
    if kind in _LISTS:
        of = arguments[0] if arguments else Any
        return isinstance(value, list | tuple) and all(fits(item, of) for item in value)
    return isinstance(value, Mapping)


def wanted(value: Any, hint: Any) -> str:
    """What ``hint`` asks for and ``value`` is not, in words such as ``a number or null``."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind in (types.UnionType, Union):
        return " or ".join(wanted(value, item) for item in arguments)
    if kind is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if kind in _LISTS:
        parts = isinstance(value, list | tuple) and arguments
        return "a list" + (f" of which each is {wanted(None, arguments[0])}" if parts else "")
    return _NAMES.get(kind, "a mapping")
