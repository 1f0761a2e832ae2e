"""Tokenizers that begin every text with a token of their own: it comes once, where it should."""

from __future__ import annotations

import pytest
from tokenizers.processors import TemplateProcessing

from ssah_exp.data.chat import encode_answer, encode_request
from ssah_exp.data.sources import Example
from ssah_exp.evaluation.perplexity import text_windows
from ssah_exp.models.tokenizer import Speech, check_tokenizer
from tests.tiny import tiny_tokenizer

FIRST = "<s>"


@pytest.fixture
def speech() -> Speech:
    """As Llama, Mistral and Gemma have it; the template writes the token itself."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{FIRST} $A",
        pair=f"{FIRST} $A $B",
        special_tokens=[(FIRST, tokenizer.bos_token_id)],
    )
    return check_tokenizer(tokenizer, "<|end|>", None)


@pytest.mark.parametrize("style", ["raw", "raw_system", "chat", "chat_system"])
def test_a_request_begins_with_it_once(speech: Speech, style: str) -> None:
    ids = encode_request(speech, Example("w1 w2"), style, "w3")
    first = speech.tokenizer.bos_token_id
    assert ids[0] == first
    assert ids.count(first) == 1


@pytest.mark.parametrize("style", ["raw", "chat"])
def test_an_answer_has_none(speech: Speech, style: str) -> None:
    found = speech.tokenizer.convert_ids_to_tokens(encode_answer(speech, "w4 w5", style))
    assert found == ["w4", "w5"]


@pytest.mark.parametrize(
    ("bos", "rows"),
    [
        (False, [[FIRST, "w1", "w2"], ["w3", "w4", "w5"]]),
        (True, [[FIRST, "w1", "w2"], [FIRST, "w3", "w4"]]),
    ],
)
def test_held_out_text_begins_with_it(speech: Speech, bos: bool, rows: list[list[str]]) -> None:
    windows = text_windows(speech, "w1 w2 w3 w4 w5", 3, bos=bos)
    assert [speech.tokenizer.convert_ids_to_tokens(row) for row in windows.tolist()] == rows
