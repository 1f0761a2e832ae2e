"""What judges and attacks say of themselves for the record; a plug-in's may be no JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from ssah_exp.config.plugins import code_of
from ssah_exp.errors import ConfigError


class _Describes(Protocol):
    def describe(self) -> dict[str, Any]: ...


def check_described(item: _Describes, where: str) -> None:
    """Refuse a plug-in whose description no record can hold: records are written last.

    Args:
        item: A judge or an attack. Those of this package are not asked.
        where: The config key, for the message.

    Raises:
        ConfigError: Its ``describe()`` gives no mapping, or values that are no JSON.
    """
    if not code_of(item):
        return
    said, whose = item.describe(), f"{where}: {type(item).__name__}.describe()"
    if not isinstance(said, Mapping):
        raise ConfigError(f"{whose} gave a {type(said).__name__}, not a dict for the record.")
    try:
        json.dumps(said)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{whose} gave what the record cannot hold ({error}). Give words, numbers, and lists "
            "and dicts of them; of a numpy number its .item()."
        ) from error
