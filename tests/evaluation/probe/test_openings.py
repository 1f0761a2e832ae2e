"""Openings as tokens, and their random twins."""

from __future__ import annotations

import pytest

from ssah_exp.errors import DataError
from ssah_exp.evaluation.probe.openings import encode_openings, random_twins
from tests.tiny import random_words, tiny_speech

TEXTS = {"benign": ["w1 w2 w3", "w4"], "malicious": ["w5 w6"]}
POOL = random_words(300, 3)


def test_each_kind_in_order_for_every_request() -> None:
    found = encode_openings(tiny_speech(), TEXTS, "chat", requests=4)
    assert [(item.kind, item.null) for item in found] == [
        ("benign", False),
        ("benign", False),
        ("malicious", False),
    ]
    assert [len(item.ids[0]) for item in found] == [3, 1, 2]
    assert all(len(item.ids) == 4 and len(set(item.ids)) == 1 for item in found)


def test_a_twin_has_the_length_of_its_opening_and_words_of_the_text() -> None:
    openings = encode_openings(tiny_speech(), TEXTS, "chat", requests=40)
    twins = random_twins(openings, POOL, seed=0)
    spans = {tuple(POOL[at : at + n]) for n in (1, 2, 3) for at in range(300 - n + 1)}
    for opening, twin in zip(openings, twins, strict=True):
        assert (twin.kind, twin.null, twin.name) == (opening.kind, True, f"null_{opening.kind}")
        assert {len(ids) for ids in twin.ids} == {len(opening.ids[0])}
        assert set(twin.ids) <= spans
        assert len(set(twin.ids)) > 10, "another one for every request"


def test_the_seed_decides_twins() -> None:
    openings = encode_openings(tiny_speech(), TEXTS, "chat", requests=9)
    assert random_twins(openings, POOL, 1) == random_twins(openings, POOL, 1)
    assert random_twins(openings, POOL, 1) != random_twins(openings, POOL, 2)


def test_what_cannot_be_used_is_said() -> None:
    openings = encode_openings(tiny_speech(), TEXTS, "chat", requests=2)
    with pytest.raises(DataError, match="has 2 tokens; an opening has 3"):
        random_twins(openings, POOL[:2], 0)
    with pytest.raises(DataError, match="' ' has no tokens"):
        encode_openings(tiny_speech(), {"benign": [" "], "malicious": ["w1"]}, "chat", 2)
