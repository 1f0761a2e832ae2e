"""Special tokens are resolved or refused, never guessed."""

from __future__ import annotations

import pytest

from ssah_exp.errors import ModelError
from ssah_exp.models.tokenizer import check_tokenizer
from tests import tiny


def test_special_tokens_are_resolved() -> None:
    speech = tiny.tiny_speech()
    assert speech.end_of_turn == tiny.SPECIALS.index("<|end|>")
    assert speech.stop_ids == (tiny.SPECIALS.index("</s>"), tiny.SPECIALS.index("<|end|>"))
    assert speech.pad_id == 0


def test_missing_pad_token_must_be_named() -> None:
    with pytest.raises(ModelError, match=r"model\.pad_token"):
        check_tokenizer(tiny.tiny_tokenizer(pad_token=None), "<|end|>", None)


def test_named_pad_token_is_set() -> None:
    tokenizer = tiny.tiny_tokenizer(pad_token=None)
    speech = check_tokenizer(tokenizer, "<|end|>", "</s>")
    assert speech.pad_id == tokenizer.pad_token_id == 2


def test_pad_token_of_the_tokenizer_comes_first() -> None:
    assert check_tokenizer(tiny.tiny_tokenizer(), "<|end|>", "</s>").pad_id == 0


@pytest.mark.parametrize(
    ("end_of_turn", "pad_token", "key"),
    [("<end>", None, "model.end_of_turn=<end>"), ("<|end|>", "<void>", "model.pad_token=<void>")],
)
def test_token_outside_the_vocabulary_is_refused(
    end_of_turn: str, pad_token: str | None, key: str
) -> None:
    with pytest.raises(ModelError, match=key):
        check_tokenizer(tiny.tiny_tokenizer(pad_token=None), end_of_turn, pad_token)


def test_end_of_turn_must_close_the_template() -> None:
    with pytest.raises(ModelError, match="does not close"):
        check_tokenizer(tiny.tiny_tokenizer(), "</s>", None)


def test_base_tokenizer_without_template_passes() -> None:
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.chat_template = None
    assert check_tokenizer(tokenizer, "</s>", None).stop_ids == (2,)


def test_template_hash_sees_template_and_tokens() -> None:
    speech = tiny.tiny_speech()
    tokenizer = tiny.tiny_tokenizer()
    assert check_tokenizer(tokenizer, "<|end|>", None).template_hash == speech.template_hash
    tokenizer.chat_template = tiny.TEMPLATE + " "
    assert check_tokenizer(tokenizer, "<|end|>", None).template_hash != speech.template_hash
    other_pad = check_tokenizer(tiny.tiny_tokenizer(pad_token="<unk>"), "<|end|>", None)
    assert other_pad.template_hash != speech.template_hash
