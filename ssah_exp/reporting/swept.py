"""Values of a swept key: what of them has a place in a picture, and which stands before which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ssah_exp.config.vocabulary import VOCABULARIES

Place = float | str

# What a value decides beside its own key: kept, records that differ in it alone would pass for
# different experiments. A group's name stands for the group.
_DECIDES = {
    "model.name": ("model",),
    "data.name": ("data",),
    "alignment.enabled": ("alignment", "data.alignment"),
    "training.objective": ("training.dpo_beta", "data.preferences"),
}
# What says only which other arms there are.
_OTHER_ARMS = {"ablation.primary_fill": ("ablation.fills", "ablation.fills_of")}


def is_number(value: Any) -> bool:
    """Whether it is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def place_of(value: Any) -> Place | None:
    """Where a value stands: true and false are words, null and nodes stand nowhere."""
    if isinstance(value, bool):
        return str(value).lower()
    if is_number(value):
        return float(value)
    return value if isinstance(value, str) else None


def decided_by(key: str) -> tuple[str, ...]:
    """Keys that must be alike at each value of a swept key, and need not be between values."""
    return _DECIDES.get(key, ())


def moved_with(key: str) -> tuple[str, ...]:
    """The swept key, and all that may differ with it."""
    return (key, *decided_by(key), *_OTHER_ARMS.get(key, ()))


def in_order(places: Iterable[Place]) -> list[Place]:
    """Each place once: numbers by size, then words as the config's vocabulary has them.

    Words that no vocabulary holds together stand in alphabetical order.
    """
    found = set(places)
    words = {place for place in found if isinstance(place, str)}
    known: tuple[str, ...] = next((item for item in VOCABULARIES if words <= {*item}), ())
    numbers: list[Place] = [*sorted(place for place in found if not isinstance(place, str))]
    return numbers + sorted(
        words, key=lambda word: (known.index(word) if known else 0, word.casefold(), word)
    )


def written(place: Place) -> str:
    """A place as a word."""
    return place if isinstance(place, str) else f"{place:.8g}"
