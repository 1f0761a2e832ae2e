"""What a selector is, how one is applied, and the checks all of them share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ssah_exp.errors import UnitError, did_you_mean
from ssah_exp.units.unitmap import UnitMap


@runtime_checkable
class Selector(Protocol):
    """A description of a set of units, for any model that has a UnitMap."""

    def select(self, units: UnitMap, seed: int) -> NDArray[np.bool_]:
        """``(units,)`` bool; ``seed`` decides random choices, if there are any."""


def select_units(selector: Selector, units: UnitMap, seed: int, where: str) -> NDArray[np.bool_]:
    """Apply a selector and refuse what no experiment can use.

    Selectors that hold others apply them through this function, too: a part that matches nothing
    would leave a set other than the one its description names.

    Args:
        selector: What to select.
        units: Scores, classes and addresses.
        seed: Decides random choices.
        where: The config key, for error messages.

    Returns:
        ``(units,)`` bool, true on at least one unit.

    Raises:
        UnitError: Nothing matches, the mask is not one of this model's units, or the selector
            asks for what this model does not have, or writes into the map.
    """
    try:
        mask = selector.select(_read_only(units), seed)
    except UnitError as error:
        raise UnitError(f"{where}: {error}") from error
    except ValueError as error:
        if "read-only" not in str(error):  # numpy's word for it
            raise
        raise UnitError(
            f"{where}: {selector} writes into the UnitMap it reads ({error}); let it change a "
            "copy, e.g. of units.safety.copy()."
        ) from error
    wanted = (units.anatomy.units,)
    if not isinstance(mask, np.ndarray):  # a plug-in's
        raise UnitError(f"{where}: {selector} gave a {type(mask).__name__}, not a bool array.")
    if mask.shape != wanted or mask.dtype != np.bool_:
        raise UnitError(
            f"{where}: {selector} gave {mask.dtype} {mask.shape}, not a bool mask of {wanted}."
        )
    if not mask.any():
        raise UnitError(f"{where}: {selector} matches no unit of {units.provenance.model}.")
    return mask


def _read_only(units: UnitMap) -> UnitMap:
    """The same map for a selector to read; other sets and all controls are drawn from it later."""
    if not units.safety.flags.writeable:  # a selector within another
        return units
    views: dict[str, Any] = {
        name: held.view() for name, held in vars(units).items() if isinstance(held, np.ndarray)
    }
    for view in views.values():
        view.flags.writeable = False
    return replace(units, **views)


def check_choice(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse an unknown word.

    Raises:
        UnitError: Names the argument, the nearest match and what is allowed.
    """
    if not isinstance(value, str) or value not in allowed:
        raise UnitError(f"{name}={value}.{did_you_mean(str(value), allowed)}")


def check_list(name: str, value: Any) -> None:
    """Refuse anything but a list with something in it; a lone word would be read letter by letter.

    Raises:
        UnitError: Names the argument.
    """
    if not isinstance(value, list | tuple) or not value:
        raise UnitError(f"{name}={value!r} is not a list with something in it.")


def check_selector(name: str, value: Any) -> None:
    """Refuse anything that cannot select.

    Raises:
        UnitError: Names the argument.
    """
    if not isinstance(value, Selector):
        raise UnitError(f"{name}={value!r} is not a selector; give it a _target_.")


def check_at_least(name: str, value: Any, low: int) -> None:
    """Refuse a number below ``low``, and anything but a whole number.

    Raises:
        UnitError: Names the argument.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnitError(f"{name}={value!r} is not a whole number.")
    if value < low:
        raise UnitError(f"{name}={value} is below {low}.")


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but true and false: a word such as "no" would count as true.

    Raises:
        UnitError: Names the argument.
    """
    if not isinstance(value, bool):
        raise UnitError(f"{name}={value!r} is neither true nor false.")
