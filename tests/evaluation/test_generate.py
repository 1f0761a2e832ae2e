"""Batched, cached, prefix-sharing generation against one argmax at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import pytest
import torch

from ssah_exp.evaluation.generate import Decoding, Prompt, generate
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.tokenizer import check_tokenizer
from tests import tiny

NEW_TOKENS = 12
# Name -> family and changes. The windows are shorter than most prompts and than every prefix.
MODELS = {
    "llama_gqa": ("llama_gqa", {}),
    "mistral": ("mistral", {"sliding_window": 8}),
    "gemma2": ("gemma2", {"sliding_window": 8, "final_logit_softcapping": 30.0}),
    "gemma3": ("gemma3", {"sliding_window": 8}),
    "phi3": ("phi3", {}),
}


@cache
def model_named(name: str) -> LoadedModel:
    family, changes = MODELS[name]
    loaded = tiny.tiny_loaded(family, seed=3, **changes)
    return tiny.never_stopping(loaded)


def prompts_with_prefix(prefix: int, lengths: Sequence[int], group: str = "raw") -> list[Prompt]:
    shared = tiny.random_words(prefix, 77)
    return [
        Prompt((*shared, *tiny.random_words(length, 100 * prefix + at)), group)
        for at, length in enumerate(lengths)
    ]


# Two groups; lengths out of order; one of the own parts is a single token.
PROMPTS = [
    *prompts_with_prefix(11, (3, 9, 1, 5, 14)),
    *prompts_with_prefix(0, (6, 2, 17), group="chat"),
]


def argmax_loop(
    loaded: LoadedModel, prompt: Prompt, new_tokens: int, stop_ids: Sequence[int] = ()
) -> list[int]:
    """No cache, no batch, no padding."""
    ids = list(prompt.ids)
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        best, second = logits.topk(2).values
        assert best - second > 1e-3, "a near tie: choose another seed"
        ids.append(int(logits.argmax()))
        if ids[-1] in stop_ids:
            break
    return ids[len(prompt.ids) :]


@cache
def expected_ids(name: str) -> list[list[int]]:
    return [argmax_loop(model_named(name), prompt, NEW_TOKENS) for prompt in PROMPTS]


def expected(name: str) -> list[str]:
    return [text_of(model_named(name), ids) for ids in expected_ids(name)]


def text_of(loaded: LoadedModel, ids: Sequence[int]) -> str:
    return str(loaded.speech.tokenizer.decode(ids, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("share_prefix", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_equals_argmax_loop(name: str, batch_size: int, share_prefix: bool) -> None:
    decoding = Decoding(NEW_TOKENS, batch_size, share_prefix)
    assert generate(model_named(name), PROMPTS, decoding) == expected(name)


def test_expected_completions_differ_from_each_other() -> None:
    """Otherwise order and padding could go wrong unnoticed."""
    for name in MODELS:
        assert len(set(expected(name))) == len(PROMPTS), name


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3"])
def test_windows_matter(name: str) -> None:
    """Otherwise the tests above say nothing about windows."""
    wide = tiny.tiny_loaded(MODELS[name][0], seed=3, sliding_window=200)
    texts = generate(tiny.never_stopping(wide), PROMPTS, Decoding(NEW_TOKENS, 1, False))
    assert texts != expected(name)


@contextmanager
def recorded_passes(loaded: LoadedModel) -> Iterator[list[tuple[int, ...]]]:
    """Batch and length of every forward pass."""
    shapes: list[tuple[int, ...]] = []
    first = loaded.model.model.layers[0].self_attn.q_proj
    handle = first.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape[:2]))
    yield shapes
    handle.remove()


@pytest.mark.parametrize(
    ("name", "lengths", "shares"),
    [
        ("llama_gqa", (3, 9, 5), True),
        ("mistral", (3, 9, 5), False),  # a window would count the padding behind the prefix
        ("mistral", (4, 4, 4), True),  # no padding
        ("gemma2", (3, 9, 5), False),
        ("gemma3", (3, 9, 5), False),
    ],
)
def test_prefix_is_run_once_where_that_changes_nothing(
    name: str, lengths: Sequence[int], shares: bool
) -> None:
    loaded, prompts = model_named(name), prompts_with_prefix(11, lengths)
    with recorded_passes(loaded) as shapes:
        generate(loaded, prompts, Decoding(2, 4, share_prefix=True))
    longest = max(lengths)
    expected_shapes = [(1, 11), (3, longest)] if shares else [(3, 11 + longest)]
    assert shapes == [*expected_shapes, (3, 1)]


@pytest.mark.parametrize(("window", "shares"), [(25, True), (24, False)])
def test_windows_that_hold_prompt_and_answer_share_too(window: int, shares: bool) -> None:
    """The longest of both has 25 tokens; a window counts the padding behind the prefix."""
    loaded = tiny.never_stopping(tiny.tiny_loaded("mistral", sliding_window=window))
    prompts = prompts_with_prefix(11, (3, 9))
    plain = [text_of(loaded, argmax_loop(loaded, prompt, 5)) for prompt in prompts]
    with recorded_passes(loaded) as shapes:
        assert generate(loaded, prompts, Decoding(5, 4, share_prefix=True)) == plain
    assert shapes[0] == ((1, 11) if shares else (2, 20))


@pytest.mark.parametrize("lengths", [(1, 4, 9, 9), (4, 7, 9), (9, 9), (1, 1)])
@pytest.mark.parametrize("seed", [5, 6])
def test_prompts_that_are_one_anothers_prefix(lengths: Sequence[int], seed: int) -> None:
    """Each keeps a token of its own to go on from."""
    loaded, words = model_named("llama_gqa"), tiny.random_words(9, seed)
    prompts = [Prompt(tuple(words[:length]), "raw") for length in lengths]
    plain = [text_of(loaded, argmax_loop(loaded, prompt, 6)) for prompt in prompts]
    assert generate(loaded, prompts, Decoding(6, 4, share_prefix=True)) == plain


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 5.0},
        {"no_repeat_ngram_size": 1},
        {"do_sample": True, "temperature": 3.0},
        {"num_beams": 3},
        {"max_length": 3},
        {"min_new_tokens": 11},
        {"suppress_tokens": list(range(8, 60))},
        {"bad_words_ids": [[at] for at in range(8, 60)]},
        {"encoder_repetition_penalty": 5.0},
        {"forced_eos_token_id": 2},
        {"eos_token_id": list(range(64))},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_the_models_own_generation_config_changes_nothing(setting: dict) -> None:
    loaded, stop = model_named("llama_gqa"), a_stop()
    plain = generate(tiny.never_stopping(loaded, stop), PROMPTS, Decoding(NEW_TOKENS, 4, True))
    model = tiny.tiny_model("llama_gqa", seed=3)
    for key, value in setting.items():
        setattr(model.generation_config, key, value)
    own = model.generation_config
    spoilt = tiny.never_stopping(LoadedModel(model, loaded.speech), stop)
    assert generate(spoilt, PROMPTS, Decoding(NEW_TOKENS, 4, True)) == plain
    assert model.generation_config is own


def test_repetition_penalty_would_matter() -> None:
    """Otherwise the test above says nothing."""
    loaded = model_named("llama_gqa")
    ids = torch.tensor([PROMPTS[0].ids])
    plain, penalised = (
        loaded.model.generate(
            ids, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=63, repetition_penalty=by
        )
        for by in (1.0, 5.0)
    )
    assert not torch.equal(plain, penalised)


def a_stop() -> int:
    """A word some completions of Llama have in their middle, and some nowhere."""
    completions = expected_ids("llama_gqa")
    return next(
        word
        for at, word in enumerate(completions[0])
        if 2 < at < 9
        and word not in completions[0][:at]
        and any(word not in other for other in completions)
    )


@pytest.mark.parametrize("share_prefix", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_stops_at_the_end_of_turn(batch_size: int, share_prefix: bool) -> None:
    loaded, stop = model_named("llama_gqa"), a_stop()
    cut = [ids[: ids.index(stop)] if stop in ids else ids for ids in expected_ids("llama_gqa")]
    assert 2 < len(cut[0]) < NEW_TOKENS == max(map(len, cut))
    stopping = tiny.never_stopping(loaded, stop)
    texts = generate(stopping, PROMPTS, Decoding(NEW_TOKENS, batch_size, share_prefix))
    assert texts == [text_of(loaded, ids) for ids in cut]


def test_either_stop_token_ends_a_completion() -> None:
    loaded = model_named("llama_gqa")
    ids, never = expected_ids("llama_gqa")[0], tiny.VOCABULARY
    at = ids.index(a_stop())
    for stops in ((ids[at], never), (never, ids[at])):
        stopping = tiny.never_stopping(loaded, *stops)
        with recorded_passes(loaded) as shapes:
            texts = generate(stopping, PROMPTS[:1], Decoding(NEW_TOKENS, 1, False))
        assert texts == [text_of(loaded, ids[:at])]
        assert len(shapes) == at + 1  # no token is computed behind the stop


def test_padding_with_an_ordinary_token_does_not_show() -> None:
    """Short answers of a batch are padded up to its longest one."""
    loaded, stop = model_named("llama_gqa"), a_stop()
    speech = check_tokenizer(tiny.tiny_tokenizer(pad_token=None), "<|end|>", "w0")
    ordinary = tiny.never_stopping(LoadedModel(loaded.model, speech), stop)
    special = tiny.never_stopping(loaded, stop)
    decoding = Decoding(NEW_TOKENS, 8, True)
    assert generate(ordinary, PROMPTS, decoding) == generate(special, PROMPTS, decoding)


def test_special_tokens_are_left_out_and_blanks_stripped() -> None:
    """The head is forced to say: end of turn, whatever came before."""
    loaded = tiny.tiny_loaded("llama")
    with torch.no_grad():
        loaded.model.model.norm.weight.zero_()
        loaded.model.lm_head = torch.nn.Linear(tiny.HIDDEN, tiny.VOCABULARY)
        loaded.model.lm_head.bias.zero_()[loaded.speech.end_of_turn] = 9.0
    assert generate(loaded, PROMPTS[:2], Decoding(4, 2, True)) == ["", ""]


def test_advance_counts_every_prompt() -> None:
    done: list[int] = []
    generate(model_named("llama_gqa"), PROMPTS, Decoding(2, 4, False), done.append)
    assert done == [4, 4]
    done.clear()
    # Groups are kept apart where a prefix is shared.
    generate(model_named("llama_gqa"), PROMPTS, Decoding(2, 4, True), done.append)
    assert done == [4, 1, 3]


def test_no_prompts_no_completions() -> None:
    assert generate(model_named("llama_gqa"), [], Decoding(2, 4, True)) == []
