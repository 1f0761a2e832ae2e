"""JSON that somebody else may have written: damage of any kind is one kind of error."""

from __future__ import annotations

import json
from typing import Any

_MAYBE_HALF = ("\\ud", "\\uD")  # how escapes of half a character begin


def json_of(text: str) -> Any:
    r"""``json.loads``, with a ``ValueError`` for everything that cannot be used.

    Args:
        text: Decoded from UTF-8, so that half a character can only be an escape such as ``\ud83d``.

    Raises:
        ValueError: No JSON; nested deeper than Python's stack; or, as ``UnicodeEncodeError``, text
            that holds half a character, which no file takes.
    """
    try:
        content = json.loads(text)
        if any(mark in text for mark in _MAYBE_HALF):
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return content
