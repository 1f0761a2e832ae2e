"""An example is run once, and every set it is in says what a pass of its own would."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from ssah_exp.config.schema import TrainerConfig, UnitsConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.models.sizes import KINDS
from ssah_exp.units.identify import collect
from ssah_exp.units.passed import PassedExamples
from tests import tiny

CPU = TrainerConfig(accelerator="cpu", progress=False)
A, B, C, D, E = tiny.conversations(5, seed=3)
# The second repeats one of the first and, in another order, one of its own.
SETS = ([A, B, C], [D, B, E, D], [C, A])


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Up to float32 rounding of forward passes in other batches."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("family", ["llama_gqa", "gemma2"])
def test_overlapping_sets_equal_passes_of_their_own(family: str) -> None:
    loaded = tiny.tiny_loaded(family)
    passed = PassedExamples(lambda: loaded, loaded.anatomy.layers, CPU)
    for tokens, sequences in (("response", [3, 5, 5]), ("all", [8, 10, 10])):
        units = UnitsConfig(batch_size=2, tokens=tokens)
        for items, count in zip(SETS, sequences, strict=True):
            found, moments = passed.of("safety", items, units)
            assert passed.sequences == count
            alone = collect(loaded, {"safety": items}, units, CPU, keep_examples=True)
            plain, plain_moments = alone.result("safety"), alone.examples("safety")
            assert plain_moments is not None
            assert (found.tokens, found.examples) == (plain.tokens, plain.examples)
            assert torch.equal(moments.count, plain_moments.count)
            for kind in KINDS:
                for part in ("mean", "variance", "flap"):
                    ours, theirs = (getattr(item.by_kind[kind], part) for item in (found, plain))
                    same(ours, theirs)
                same(moments.second[kind], plain_moments.second[kind])


def test_an_example_without_counted_tokens_counts_nowhere() -> None:
    silent = Encoded(A.input_ids, len(A.input_ids))
    loaded = tiny.tiny_loaded()
    passed = PassedExamples(lambda: loaded, loaded.anatomy.layers, CPU)
    found, moments = passed.of("x", [silent, B], UnitsConfig())
    assert (found.examples, moments.examples) == (1, 1)


def test_it_keeps_no_model_while_others_need_the_room() -> None:
    """vLLM could not load its own beside it."""
    held = [tiny.tiny_loaded()]
    passed = PassedExamples(lambda: held[0], held[0].anatomy.layers, CPU)
    passed.of("safety", SETS[0], UnitsConfig(batch_size=2))
    gone = weakref.ref(held[0].model)
    held[0] = tiny.tiny_loaded()
    gc.collect()
    assert gone() is None
    passed.of("safety", SETS[1], UnitsConfig(batch_size=2))
    assert passed.sequences == 5
