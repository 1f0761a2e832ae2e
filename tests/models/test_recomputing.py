"""Activation checkpointing under its two names."""

from __future__ import annotations

import warnings

import pytest
import torch

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


def test_blocks_before_the_first_trained_one_are_computed_once() -> None:
    """As without checkpointing, where no gradient is asked of what lies before."""
    model = tiny.tiny_model("llama").requires_grad_(False)
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Module)
    model.train()
    last, passes = blocks(model)[-1].requires_grad_(True), [0 for _ in blocks(model)]

    def count(at: int) -> None:
        passes[at] += 1

    for at, block in enumerate(blocks(model)):
        block.mlp.register_forward_pre_hook(lambda *_, at=at: count(at))
    with recomputing(model, wanted=True):
        assert not embeddings._forward_hooks
        model(torch.zeros(1, 4, dtype=torch.int64)).logits.sum().backward()
    assert passes == [1] * (len(passes) - 1) + [2]
    assert all(item.grad is not None for item in last.parameters())
    assert not embeddings._forward_hooks


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
