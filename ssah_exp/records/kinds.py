"""Whether JSON that somebody else wrote is of the kinds that annotations name, however deep.

Which keys there are is not looked at: constructors refuse unknown and missing ones, configs of
other versions have others, and :mod:`ssah_exp.records.needed` names those that none may lack.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from functools import cache
from operator import itemgetter
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from ssah_exp.config.kinds import wanted

Check = Callable[[Any], None]

# What JSON's values are in Python. ``true`` is no number here, and a whole number is one.
_SCALARS: dict[Any, frozenset[type]] = {
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({int, float}),
    str: frozenset({str}),
    types.NoneType: frozenset({types.NoneType}),
}
_GIVEN = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    types.NoneType: "null",
    list: "a list",
    dict: "a mapping",
}


class KindError(ValueError):
    """A value of another kind; its text names the place in the JSON, as ``arms.0.units``."""

    def __init__(self, value: Any, hint: Any) -> None:
        super().__init__(value, hint)
        self.places: list[str] = []
        asked = wanted(value, hint)
        asked = f"no {asked[2:]}" if asked.startswith("a ") else f"not {asked}"
        self.said = f"is {asked}: it is {_GIVEN[type(value)]}"

    def __str__(self) -> str:
        """The place and what is wrong there."""
        return f"{'.'.join(reversed(self.places))} {self.said}."


def check_of(hint: Any) -> Check:
    """A function that raises :class:`KindError` for what may not stand where ``hint`` is written.

    Args:
        hint: A scalar, a ``list`` or ``tuple``, a ``dict``, a dataclass, a ``TypedDict``, a union
            of scalars, or of one of the others and None. ``Annotated[dict[str, Any], Other]`` is
            checked as ``Other``. ``Any`` takes everything.
    """
    return _check_of(hint)  # apart, since mypy takes a dataclass for not hashable


@cache
def _check_of(hint: Any) -> Check:
    if get_origin(hint) is Annotated:
        return check_of(get_args(hint)[1])
    if (scalars := _scalars(hint)) is not None:
        return _one_of(scalars, hint)
    if get_origin(hint) in (types.UnionType, Union):
        return _or_null(hint)
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind in (list, tuple):
        return _each(
            list, arguments[0] if arguments else Any, hint, lambda value: range(len(value))
        )
    if kind is dict:
        return _each(dict, arguments[1] if arguments else Any, hint, iter)
    if is_dataclass(kind) or is_typeddict(kind):
        return _fields(kind)
    return lambda value: None


def _scalars(hint: Any) -> frozenset[type] | None:
    """The types that a scalar or a union of scalars takes; None = it is something else."""
    if get_origin(hint) not in (types.UnionType, Union):
        return _SCALARS.get(hint)
    found = [_SCALARS.get(item) for item in get_args(hint)]
    return None if None in found else frozenset().union(*(item for item in found if item))


def _one_of(allowed: frozenset[type], hint: Any) -> Check:
    def check(value: Any) -> None:
        if type(value) not in allowed:
            raise KindError(value, hint)

    return check


def _or_null(hint: Any) -> Check:
    below = check_of(next(item for item in get_args(hint) if item is not types.NoneType))

    def check(value: Any) -> None:
        if value is not None:
            below(value)

    return check


def _each(container: type, of: Any, hint: Any, places: Callable[[Any], Iterable[Any]]) -> Check:
    below, scalars = check_of(of), _scalars(of)

    def check(value: Any) -> None:
        inside: Any = value  # mypy makes an object of what is compared by its type
        held: Any = value.values() if type(value) is dict else value
        if type(value) is not container:
            raise KindError(value, hint)
        if scalars is None or not scalars.issuperset(map(type, held)):
            place: Any = None
            try:  # around the loop: a call for each of a million values takes as long as its check
                for place in places(value):
                    below(inside[place])
            except KindError as error:
                error.places.append(str(place))
                raise

    return check


def _fields(kind: Any) -> Check:
    hints = get_type_hints(kind, include_extras=True)
    checks = {name: check_of(hint) for name, hint in hints.items()}
    scalars = [name for name, hint in hints.items() if _scalars(hint) is not None]
    others = [name for name in hints if name not in scalars]
    values = itemgetter(*scalars) if len(scalars) > 1 else lambda value: ()
    seen: set[tuple[type, ...]] = set()  # types of scalars that were found right, all together

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise KindError(value, dict)
        try:  # a million estimates have few combinations of types
            found = tuple(map(type, values(value)))
        except KeyError:  # not all are there
            found = ()
        name = ""
        try:
            for name in others if found in seen else hints:
                if name in value:
                    checks[name](value[name])
        except KindError as error:
            error.places.append(name)
            raise
        if found:
            seen.add(found)

    return check
