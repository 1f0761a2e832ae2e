"""GCG: its gradient against finite differences, its search against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.evaluation.attacks import Gcg, Request, Victim
from ssah_exp.evaluation.attacks.gcg import Place, suffix_gradient, typeable
from ssah_exp.evaluation.generate import Decoding
from ssah_exp.interventions.ablate import ablated, plan_ablation
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.tokenizer import check_tokenizer
from tests import tiny
from tests.evaluation.attacked import REQUEST, SYSTEM, victim_of

TARGET = [20, 31, 44]
STEP = 5e-4  # norms and rotary embeddings compute in float32 whatever the weights are


def attack(**changes: object) -> Gcg:
    budget = {"initial": "w3 w4 w5", "steps": 3, "candidates": 12, "top_k": 6, "batch_size": 5}
    return Gcg(name="gcg", **{"target": "w1 w2", **budget, **changes})  # type: ignore[arg-type]


def precise(family: str) -> Victim:
    loaded = tiny.tiny_loaded(family, seed=4, dtype=torch.float64)
    return Victim.of(loaded, SYSTEM, Decoding(4, 4, False))


@contextmanager
def nudged(victim: Victim, at: int, token: int, by: float) -> Iterator[None]:
    """Add ``by`` of a token's embedding at one position: its one-hot entry grows by that."""
    embedding = victim.loaded.model.get_input_embeddings()
    with torch.no_grad():
        direction = embedding(torch.tensor([token]))[0]

    def add(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[0, at] += by * direction
        return output

    handle = embedding.register_forward_hook(add)
    yield
    handle.remove()


@torch.no_grad()
def plain_loss(victim: Victim, row: Sequence[int], target: Sequence[int]) -> float:
    """No batch, no padding, every logit."""
    ids = torch.tensor([[*row, *target]])
    logs = victim.loaded.model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
    start = len(row) - 1
    return -float(np.mean([logs[start + at, token] for at, token in enumerate(target)]))


def assert_gradient_is_the_slope(victim: Victim, style: str) -> None:
    place = Place.of(victim, replace(REQUEST, style=style), "w3 w4 w5")
    suffix = [15, 40, 22]
    gradient = suffix_gradient(victim, place, suffix, TARGET)
    assert gradient.shape == (3, tiny.VOCABULARY)
    row = place.row(suffix)
    for at, token in itertools.product(range(3), (9, 33, 60)):
        slopes = []
        for by in (STEP, -STEP):
            with nudged(victim, len(place.before) + at, token, by):
                slopes.append(plain_loss(victim, row, TARGET))
        slope = (slopes[0] - slopes[1]) / (2 * STEP)
        assert float(gradient[at, token]) == pytest.approx(slope, rel=0.01, abs=2e-3)
    assert float(gradient.abs().max()) > 0.1


@pytest.mark.parametrize("style", ["raw", "chat_system"])
@pytest.mark.parametrize("family", ["llama_gqa", "llama_tied", "gemma", "gemma2", "gemma3", "phi3"])
def test_the_gradient_is_the_slope_of_the_loss(family: str, style: str) -> None:
    """Gemma multiplies its embeddings; one-hot vectors enter before that."""
    assert_gradient_is_the_slope(precise(family), style)


def test_the_gradient_sees_an_ablation() -> None:
    victim = precise("llama_gqa")
    anatomy = victim.loaded.anatomy
    mask = np.zeros(anatomy.units, dtype=bool)
    mask[::3] = True
    fills = {
        "attention": torch.full((anatomy.layers, anatomy.heads * anatomy.head_dim), 0.3),
        "mlp": torch.full((anatomy.layers, anatomy.neurons), -0.2),
    }
    place = Place.of(victim, REQUEST, "w3 w4 w5")
    before = suffix_gradient(victim, place, place.start, TARGET)
    with ablated(victim.loaded.model, plan_ablation(mask, anatomy, fills)):
        assert_gradient_is_the_slope(victim, "raw")
        inside = suffix_gradient(victim, place, place.start, TARGET)
    assert not torch.allclose(before, inside, atol=1e-3)


def test_the_gradient_sees_an_adapter() -> None:
    victim = precise("llama_gqa")
    place = Place.of(victim, REQUEST, "w3 w4 w5")
    before = suffix_gradient(victim, place, place.start, TARGET)
    prefix = LearnedPrefix.new(victim.loaded.model, 4)
    with torch.no_grad():
        for values in prefix.parameters.values():
            values.mul_(2)
    assert_gradient_is_the_slope(victim, "raw")
    inside = suffix_gradient(victim, place, place.start, TARGET)
    assert not torch.allclose(before, inside, atol=1e-3)
    rows = [tiny.random_words(length, length) for length in (3, 9, 5)]
    expected = [plain_loss(victim, row, TARGET) for row in rows]
    assert victim.losses(rows, TARGET, 3) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("style", ["raw", "raw_system", "chat", "chat_system"])
def test_the_suffix_is_found_among_the_tokens(style: str) -> None:
    victim, request = victim_of(), Request("w10 w3 w3", style)
    place = Place.of(victim, request, "w3 w3 w4")
    assert len(place.start) == 3
    assert place.row(place.start) == victim.encode("w10 w3 w3 w3 w3 w4", request)
    assert place.text(victim.speech, place.start) == "w10 w3 w3 w3 w3 w4"
    assert bool(place.after) == style.startswith("chat")


def test_a_suffix_that_vanishes_is_refused() -> None:
    with pytest.raises(ModelError, match="give another initial suffix"):
        Place.of(victim_of(), REQUEST, "   ")


def test_a_suffix_must_survive_its_spelling() -> None:
    victim = victim_of()
    place = Place.of(victim, REQUEST, "w3 w4 w5")
    assert place.survives(victim, (9, 10, 11))
    assert not replace(place, request=replace(REQUEST, prompt="w10")).survives(victim, (9, 10, 11))


def test_tokens_that_grow_together_do_not_survive() -> None:
    vocabulary = [*tiny.SPECIALS, "a", "##b", "ab", "w10"]
    backend = Tokenizer(
        models.WordPiece({word: at for at, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    tokenizer = tiny.tiny_tokenizer(tokenizer_object=backend)
    speech = check_tokenizer(tokenizer, "<|end|>", None)
    victim = Victim.of(LoadedModel(victim_of().loaded.model, speech), SYSTEM, Decoding(4, 4, False))
    place = Place.of(victim, Request("w10", "raw"), "a a")
    assert [place.survives(victim, ids) for ids in ((8, 8), (10, 8), (8, 9))] == [True, True, False]


def test_special_tokens_cannot_be_typed() -> None:
    usable = typeable(tiny.tiny_speech(), tiny.VOCABULARY + 3)
    assert usable.tolist() == [False] * 8 + [True] * tiny.WORDS + [False] * 3


def test_one_token_and_every_candidate_is_brute_force() -> None:
    victim = victim_of()
    search = attack(initial="w3", steps=1, candidates=3000, top_k=tiny.VOCABULARY, batch_size=64)
    (found,) = search.attempts(victim, REQUEST, 0)
    target = victim.encode_answer("w1 w2", "raw")
    texts = [f"{REQUEST.prompt} w{number}" for number in range(tiny.WORDS)]
    losses = [plain_loss(victim, victim.encode(text, REQUEST), target) for text in texts]
    assert found.text == texts[int(np.argmin(losses))]
    assert found.details is not None
    assert found.details["best_loss"] == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.parametrize(("style", "system"), [("raw", None), ("chat", None), ("chat", "w40 w41")])
def test_what_was_measured_is_what_is_put(style: str, system: str | None) -> None:
    victim, request = victim_of(), replace(REQUEST, style=style, system=system)
    (found,) = attack().attempts(victim, request, 0)
    assert found.details is not None
    target = victim.encode_answer("w1 w2", style)
    measured = plain_loss(victim, victim.encode(found.text, request), target)
    assert found.details["best_loss"] == pytest.approx(measured, abs=1e-5)
    assert found.details["best_loss"] < found.details["first_loss"] - 0.1
    assert found.text.startswith(f"{request.prompt} ")


def test_the_seed_decides_and_the_batch_does_not() -> None:
    victim = victim_of()
    first = attack().attempts(victim, REQUEST, 0)[0]
    for size in (1, 12):
        again = attack(batch_size=size).attempts(victim, REQUEST, 0)[0]
        assert again.text == first.text
    others = {attack(steps=1).attempts(victim, REQUEST, seed)[0].text for seed in range(4)}
    assert len(others) > 1


def test_only_the_most_promising_usable_tokens_are_tried() -> None:
    """A falling loss is a negative gradient; special tokens fall most and cannot be typed."""
    victim = victim_of()
    place = Place.of(victim, REQUEST, "w3 w4 w5")
    gradient = torch.linspace(-1.0, 3.0, 3 * tiny.VOCABULARY).reshape(3, tiny.VOCABULARY)
    gradient[:, :8] = -50.0
    falling = {0: (30, 41), 1: (9, 63), 2: (41, 20)}
    for at, (most, next_most) in falling.items():
        gradient[at, most], gradient[at, next_most] = -9.0, -7.0
    usable = np.arange(tiny.VOCABULARY) >= 8
    draw = np.random.default_rng(0)
    search = attack(candidates=200, top_k=2)
    tried = search._candidates(victim, place, (11, 12, 13), gradient, usable, draw)
    assert sorted(tried) == sorted(
        [(30, 12, 13), (41, 12, 13), (11, 9, 13), (11, 63, 13), (11, 12, 41), (11, 12, 20)]
    )


def scripted(monkeypatch: pytest.MonkeyPatch, lowest: Sequence[float]) -> list[list[int]]:
    """Every call finds the next of ``lowest`` for its last prompt; returns those prompts."""
    asked: list[list[int]] = []

    def losses(
        victim: Victim, prompts: Sequence[Sequence[int]], target: Sequence[int], batch_size: int
    ) -> list[float]:
        asked.append(list(prompts[-1]))
        return [100.0] * (len(prompts) - 1) + [lowest[len(asked) - 1]]

    monkeypatch.setattr(Victim, "losses", losses)
    return asked


def test_the_best_suffix_of_all_rounds_is_kept_and_not_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    victim = victim_of()
    asked = scripted(monkeypatch, [5.0, 4.0, 1.0, 3.0, 2.0])
    (found,) = attack(steps=4).attempts(victim, REQUEST, 0)
    assert found.details == {"first_loss": 5.0, "best_loss": 1.0, "steps": 4}
    assert victim.encode(found.text, REQUEST) == asked[2]
    assert asked[2] not in (asked[3], asked[4])


def test_every_step_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = scripted(monkeypatch, [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0])
    (found,) = attack(steps=7).attempts(victim_of(), REQUEST, 0)
    assert len(asked) == 1 + 7
    assert found.details is not None
    assert found.details["best_loss"] == 2.0


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="steps=0 is below 1"):
        attack(steps=0)


@pytest.mark.parametrize("key", ["initial", "target"])
def test_a_search_without_an_aim_or_a_beginning_is_refused(key: str) -> None:
    """Of a target of no tokens every suffix is as good as another."""
    with pytest.raises(ConfigError, match=f"{key} is blank"):
        attack(**{key: "  "})
