"""JSON of other people: what cannot be used is a ``ValueError``, whatever is wrong with it."""

from __future__ import annotations

import pytest

from ssah_exp.jsontext import json_of


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2",
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        r'["half \ud83d"]',
        r'["half \uD83D"]',
        r'{"\udc00": 1}',
    ],
    ids=["empty", "cut", "lists", "objects", "half", "half in capitals", "half in a key"],
)
def test_what_cannot_be_used_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the kind of error is what callers rely on
        json_of(text)


def test_whole_characters_are_read_however_they_are_written() -> None:
    assert json_of(r'["\ud83d\ude00", "\\ud83d", "ü"]') == ["\U0001f600", r"\ud83d", "ü"]
