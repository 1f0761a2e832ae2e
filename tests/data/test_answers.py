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


@pytest.mark.parametrize("legacy", [False, True])
def test_an_answer_in_a_chat_begins_with_its_blank(legacy: bool) -> None:
    """Llama 2's template puts one there."""
    ids = encode_answer(sentencepiece(legacy=legacy), "No", "chat")
    assert [PIECES[token] for token in ids] == ["▁N", "o"]


def test_other_tokenizers_give_what_they_gave() -> None:
    speech = tiny.tiny_speech()
    for style in ("raw", "chat"):
        assert encode_answer(speech, "w1 w2", style) == [9, 10]
