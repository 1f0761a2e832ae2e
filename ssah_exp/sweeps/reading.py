"""Reading the small JSON files of a sweep, any of which may be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssah_exp.errors import StoreError
from ssah_exp.jsontext import json_of


def read_object(path: Path, **keys: type) -> dict[str, Any]:
    """The object that a file holds.

    Args:
        path: A JSON file.
        keys: What it has to hold, and of which kind.

    Raises:
        StoreError: It cannot be read, or something is lacking or of another kind.
    """
    try:
        content = json_of(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        wrong = [key for key, kind in keys.items() if not isinstance(content.get(key), kind)]
        if wrong:
            raise ValueError(f"without a usable '{wrong[0]}' it is damaged")
        return content
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot read {path}: {error}") from error
