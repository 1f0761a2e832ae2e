"""Activation checkpointing under its two names."""

from __future__ import annotations

import warnings

import pytest

from ssah_exp.models.anatomy import blocks
from ssah_exp.models.recomputing import recomputing
from tests import tiny


def test_it_lasts_as_long_as_the_block_and_warns_of_nothing() -> None:
    model = tiny.tiny_model("llama")
    block = blocks(model)[0]

    def fail() -> None:
        assert block.gradient_checkpointing
        raise ZeroDivisionError

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with recomputing(model, wanted=False):
            assert not block.gradient_checkpointing
        with pytest.raises(ZeroDivisionError), recomputing(model, wanted=True):
            fail()
    assert not block.gradient_checkpointing


class Older:
    """A model of transformers before 5.24."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def gradient_checkpointing_enable(self, arguments: dict[str, bool]) -> None:
        self.calls.append(arguments)

    def gradient_checkpointing_disable(self) -> None:
        self.calls.append("off")


def test_models_of_an_older_version_are_asked_by_the_older_name() -> None:
    model = Older()
    with recomputing(model, wanted=True):
        assert model.calls == [{"use_reentrant": False}]
    assert model.calls[1:] == ["off"]
