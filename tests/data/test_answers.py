"""Tokens of answers, as they follow a prompt."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ssah_exp.data.chat import encode_answer
from ssah_exp.evaluation.probe.openings import encode_openings
from ssah_exp.models.tokenizer import Speech
from tests import tiny

PIECES = ("<unk>", "<s>", "</s>", "<0x0A>", "▁", "N", "o", "a", "▁N", "▁a")


def sentencepiece(*, legacy: bool) -> Speech:
    """As Llama 2's, Mistral's and Phi-3's: a text begins with a blank, written ▁."""
    backend: Any = Tokenizer(
        models.BPE(
            {piece: at for at, piece in enumerate(PIECES)},
            [("▁", "N"), ("▁", "a")],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    if legacy:
        blanks = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence(blanks)
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return Speech(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"), 2, (2,), 2)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("style", ["raw", "raw_system"])
def test_no_blank_comes_before_the_line_of_an_answer(legacy: bool, style: str) -> None:
    speech = sentencepiece(legacy=legacy)
    prompt = speech.tokenizer("a", add_special_tokens=False).input_ids
    whole = speech.tokenizer("a\nNo", add_special_tokens=False).input_ids
    assert prompt + encode_answer(speech, "No", style) == whole
    texts = {"benign": ["No"], "malicious": ["a"]}
    assert [PIECES[token] for token in encode_openings(speech, texts, style, 1)[0].ids[0]] == [
        "<0x0A>",
        "N",
        "o",
    ]


EACH = "{% for m in messages %}{% if m.role == 'user' %}{{ 'a' }}{% else %}"
LLAMA_2 = EACH + "{{ ' ' + m.content }}"
ZEPHYR = EACH + "{{ 'o\n' + m.content }}"
ENDS = "{% endif %}{% endfor %}"
OPENS = "{% if add_generation_prompt %}{{ 'o\n' }}{% endif %}"


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("template", "pieces"),
    [(LLAMA_2 + ENDS, ["▁N", "o"]), (ZEPHYR + ENDS + OPENS, ["N", "o"])],
    ids=["a blank before it", "on a line of its own"],
)
def test_an_answer_in_a_chat_begins_as_the_template_has_it(
    template: str, pieces: list[str], legacy: bool
) -> None:
    """Llama 2's template puts a blank there; TinyLlama's and Zephyr's a new line."""
    speech = sentencepiece(legacy=legacy)
    speech.tokenizer.chat_template = template
    turns = [{"role": "user", "content": "a"}]
    said = [*turns, {"role": "assistant", "content": "No"}]
    prompt = speech.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    whole = speech.tokenizer.apply_chat_template(said, tokenize=False)
    ids = encode_answer(speech, "No", "chat")
    assert [PIECES[token] for token in ids] == pieces
    prompt_ids, whole_ids = speech.tokenizer([prompt, whole], add_special_tokens=False).input_ids
    assert prompt_ids + ids == whole_ids


def test_an_answer_in_a_chat_without_template_stands_alone() -> None:
    assert [PIECES[at] for at in encode_answer(sentencepiece(legacy=False), "No", "chat")] == [
        "▁N",
        "o",
    ]


def test_other_tokenizers_give_what_they_gave() -> None:
    speech = tiny.tiny_speech()
    for style in ("raw", "chat"):
        assert encode_answer(speech, "w1 w2", style) == [9, 10]
