"""What counts as a word of an answer, wherever words are counted."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Runs of letters, digits and underscores, in lower case, in order."""
    return _WORD.findall(text.lower())
