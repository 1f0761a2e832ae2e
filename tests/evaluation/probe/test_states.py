"""States of batched, cached continuations against one full forward pass per position."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import torch

from ssah_exp.evaluation.probe.measure import Plan, ProbeDistances, end_states, measure
from ssah_exp.evaluation.probe.openings import Opening
from ssah_exp.evaluation.probe.states import reading
from ssah_exp.models.load import LoadedModel
from tests import tiny

STEPS = (1, 2, 5)
LENGTHS = (3, 9, 1, 6)
PROMPTS = [tuple(tiny.random_words(length, 40 + at)) for at, length in enumerate(LENGTHS)]
OPENINGS = [
    Opening("benign", False, (tuple(tiny.random_words(4, 7)),) * len(PROMPTS)),
    Opening(
        "malicious",
        True,
        tuple(tuple(tiny.random_words(2, 60 + at)) for at in range(len(PROMPTS))),
    ),
]
WINDOWED = {name: {"sliding_window": 4} for name in ("mistral", "gemma2", "gemma3")}


@cache
def model_of(family: str) -> LoadedModel:
    return tiny.never_stopping(tiny.tiny_loaded(family, seed=5, **WINDOWED.get(family, {})))


def hooked_states(loaded: LoadedModel, ids: Sequence[int]) -> torch.Tensor:
    """No batch, no cache, no padding; plain forward hooks: ``(depth, hidden)`` at the end."""
    seen: list[torch.Tensor] = []
    layers = loaded.model.model.layers
    handles = [layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))]
    handles += [
        layer.register_forward_hook(lambda _, given, out: seen.append(out)) for layer in layers
    ]
    with torch.no_grad():
        loaded.model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack([item[0, -1] for item in seen])


def argmax_loop(loaded: LoadedModel, ids: Sequence[int], count: int) -> list[int]:
    ids = list(ids)
    for _ in range(count):
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        best, second = logits.topk(2).values
        assert best - second > 1e-4, "a near tie: choose another seed"
        ids.append(int(logits.argmax()))
    return ids[-count:]


def cosine_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double(), other.double()
    return float(1 - one @ other / (one @ one).sqrt() / (other @ other).sqrt())


def run(loaded: LoadedModel, batch_size: int = 3, *, same_tokens: bool = False) -> ProbeDistances:
    plan = Plan(STEPS, ("cosine", "l2"), same_tokens, batch_size)
    return measure(loaded, PROMPTS, OPENINGS, plan)


@pytest.mark.parametrize("same_tokens", [False, True])
def test_distances_equal_those_of_plain_hooks(family: str, same_tokens: bool) -> None:
    loaded = model_of(family)
    found = run(loaded, same_tokens=same_tokens)
    shape = (len(PROMPTS), len(OPENINGS), len(STEPS), tiny.LAYERS + 1)
    assert {name: tuple(item.shape) for name, item in found.distances.items()} == {
        "cosine/raw": shape,
        "cosine/content_free": shape,
        "l2/raw": shape,
    }
    for row, prompt in enumerate(PROMPTS):
        content = hooked_states(loaded, prompt)
        bare = argmax_loop(loaded, prompt, max(STEPS))
        assert found.tokens[row, 0].tolist() == bare
        for at, opening in enumerate(OPENINGS):
            start = [*prompt, *opening.ids[row]]
            other = bare if same_tokens else argmax_loop(loaded, start, max(STEPS))
            assert found.tokens[row, 1 + at].tolist() == other
            for place, step in enumerate(STEPS):
                one = hooked_states(loaded, [*prompt, *bare[:step]])
                two = hooked_states(loaded, [*start, *other[:step]])
                for depth in range(tiny.LAYERS + 1):
                    where = (row, at, place, depth)
                    raw = cosine_distance(one[depth], two[depth])
                    assert found.distances["cosine/raw"][where] == pytest.approx(raw, abs=2e-5)
                    length = float((one[depth] - two[depth]).norm())
                    assert found.distances["l2/raw"][where] == pytest.approx(length, abs=1e-3)
                    free = found.distances["cosine/content_free"][where]
                    if depth == 0:
                        assert free.isnan()
                    else:
                        shared = content[depth]
                        wanted = cosine_distance(one[depth] - shared, two[depth] - shared)
                        assert free == pytest.approx(wanted, abs=2e-5)


def test_openings_and_tokens_make_a_difference() -> None:
    """Otherwise the test above could pass on zeros."""
    loaded = model_of("llama_gqa")
    own, same = run(loaded), run(loaded, same_tokens=True)
    for found in (own, same):
        assert (found.distances["cosine/raw"][..., 1:] > 1e-4).all()
        rows = {tuple(row) for row in found.distances["l2/raw"].flatten(1).tolist()}
        assert len(rows) == len(PROMPTS)
    assert (own.tokens[:, 1:] != own.tokens[:, :1]).any()
    assert (same.distances["cosine/raw"][..., 0].abs() < 1e-12).all(), "one text, one embedding"


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_batch_size_changes_nothing_beyond_rounding(batch_size: int) -> None:
    loaded = model_of("llama_gqa")
    wanted, found = run(loaded), run(loaded, batch_size)
    assert torch.equal(wanted.tokens, found.tokens)
    for name, values in wanted.distances.items():
        torch.testing.assert_close(
            found.distances[name], values, rtol=1e-4, atol=1e-5, equal_nan=True
        )


def test_end_states_are_those_of_plain_hooks() -> None:
    loaded = model_of("qwen3")
    states = end_states(loaded, PROMPTS, batch_size=3)
    for row, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(states[row], hooked_states(loaded, prompt), rtol=1e-4, atol=1e-4)


def test_going_on_leaves_what_was_read_as_it_was() -> None:
    loaded = model_of("llama_gqa")
    with reading(loaded) as reader:
        standing = reader.read(PROMPTS)
        first = reader.continue_greedily(standing, STEPS)
        reader.read_on(standing, torch.tensor(OPENINGS[0].ids))
        second = reader.continue_greedily(standing, STEPS)
    assert torch.equal(first.states, second.states)
    assert standing.cache.get_seq_length() == max(LENGTHS)


def test_hooks_are_gone_also_after_a_failure() -> None:
    loaded = model_of("llama_gqa")
    run(loaded)
    assert tiny.pre_hooks(loaded.model) == 0
    with reading(loaded) as reader:
        assert tiny.pre_hooks(loaded.model) == tiny.LAYERS + 1
        with pytest.raises(IndexError):
            reader.read([(10_000,)])
    assert tiny.pre_hooks(loaded.model) == 0
    with pytest.raises(ZeroDivisionError), reading(loaded):
        _ = 1 / 0
    assert tiny.pre_hooks(loaded.model) == 0


def test_a_file_gives_back_what_was_measured(tmp_path: object) -> None:
    found = run(model_of("llama_gqa"))
    found.save(tmp_path)  # type: ignore[arg-type]
    again = ProbeDistances.load(tmp_path)  # type: ignore[arg-type]
    assert again.distances.keys() == found.distances.keys()
    assert torch.equal(again.tokens, found.tokens)
    assert torch.equal(again.distances["l2/raw"], found.distances["l2/raw"])
