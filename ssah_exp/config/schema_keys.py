"""Which keys the schema has, and where a dotted key leaves it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import did_you_mean


def keys_below(schema: type) -> dict[str, type | None]:
    """Key of a dataclass of the schema -> the one below it; None where a value stands."""
    made = {item.name: item.default_factory for item in fields(schema)}
    return {
        name: kind if isinstance(kind, type) and is_dataclass(kind) else None
        for name, kind in made.items()
    }


def deepest(dotted: str) -> tuple[dict[str, type | None], str, bool]:
    """Go down a run's schema by a dotted key, until no dataclass of it is below.

    Returns:
        The keys there; the part of ``dotted`` to look for among them; whether that is the last.
    """
    known = keys_below(RunConfig)
    part, *rest = dotted.split(".")
    while rest and (schema := known.get(part)) is not None:
        known, part, *rest = keys_below(schema), *rest
    return known, part, not rest


def unknown_key(dotted: str) -> str | None:
    """``'a.b'. Did you mean 'a.c'?`` for a key that no config has; below nodes any may stand."""
    known, part, _ = deepest(dotted)
    return None if part in known else f"'{dotted}'.{did_you_mean(part, known)}"
