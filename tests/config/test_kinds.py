"""What a parameter's annotation takes, a plug-in's too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from ssah_exp.config.kinds import fits, wanted

Anything = TypeVar("Anything")


@pytest.mark.parametrize("hint", [Any, object, Callable, Callable[[int], str], Anything])
@pytest.mark.parametrize("value", [3, "text", None, [1], {"_target_": "x"}])
def test_some_annotations_take_everything(hint: Any, value: Any) -> None:
    assert fits(value, hint)
    assert fits([value], list[Any])


@pytest.mark.parametrize("hint", [list, tuple, Sequence])
def test_a_list_of_anything_takes_any_list(hint: Any) -> None:
    assert fits([1, "two", None], hint)
    assert not fits("text", hint)
    assert wanted("text", hint) == "a list"
    assert wanted(["text"], hint) == "a list"


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        (["a"], list[int], "a list of which each is a whole number"),
        (True, int, "a whole number"),
        (None, float | str, "a number or a text"),
        ("x", dict[str, int], "a mapping"),
    ],
)
def test_what_does_not_fit_is_told_what_would(value: Any, hint: Any, said: str) -> None:
    assert not fits(value, hint)
    assert wanted(value, hint) == said
