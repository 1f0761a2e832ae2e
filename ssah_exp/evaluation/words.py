"""What a word of an answer is, to all who count them."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, in lower case, in order."""
    return _WORD.findall(text.lower())
