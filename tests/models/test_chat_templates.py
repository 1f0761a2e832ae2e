"""The chat templates that ship, rendered, against what their sources write."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.data.chat import encode_pair
from ssah_exp.data.sources import Example
from ssah_exp.errors import ModelError
from ssah_exp.models.load_tokenizer import load_speech
from ssah_exp.models.tokenizer import Speech, render_chat
from tests.config.composing import config_of
from tests.tiny import TEMPLATE, tiny_tokenizer

INTRODUCTION = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
EOS, END = 'model.end_of_turn="</s>"', 'model.end_of_turn="<|end|>"'
ASKED = {"role": "user", "content": "w1"}
ANSWERED = {"role": "assistant", "content": "w2"}


def speech_of(folder: Path, *overrides: str, own: str | None = None) -> Speech:
    """A tokenizer, with or without a template of its own, under a config."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = own
    tokenizer.save_pretrained(folder)
    return load_speech(str(folder), config_of("model=local", *overrides).model)


@pytest.fixture
def alpaca(tmp_path: Path) -> Speech:
    return speech_of(tmp_path, "chat_template=alpaca", EOS)


def test_alpaca_s_prompt_and_answer(alpaca: Speech) -> None:
    prompt = f"<s>{INTRODUCTION}\n\n### Instruction:\nw1\n\n### Response:\n"
    assert render_chat(alpaca.tokenizer, [ASKED]) == prompt
    talk = render_chat(alpaca.tokenizer, [ASKED, ANSWERED, ASKED])
    assert talk == f"{prompt}w2</s>\n\n### Instruction:\nw1\n\n### Response:\n"


def test_a_system_message_takes_the_place_of_the_introduction(alpaca: Speech) -> None:
    turns = [{"role": "system", "content": "w9"}, ASKED]
    assert render_chat(alpaca.tokenizer, turns) == (
        "<s>w9\n\n### Instruction:\nw1\n\n### Response:\n"
    )


def test_an_answer_to_train_on_begins_behind_the_prompt_and_ends_with_the_text(
    alpaca: Speech,
) -> None:
    pair = encode_pair(alpaca, Example("w1", "w2 w3"), "chat", None, 99)
    tokens = alpaca.tokenizer.convert_ids_to_tokens(list(pair.input_ids))
    assert tokens[pair.response_start :] == ["w2", "w3", "</s>"]
    assert tokens[pair.response_start - 2 : pair.response_start] == ["<unk>", "<unk>"]
    assert tokens[0] == "<s>"
    assert "w1" in tokens[: pair.response_start]


def test_it_takes_the_place_of_the_tokenizer_s_own(tmp_path: Path) -> None:
    options = ["chat_template=alpaca", EOS]
    speech = speech_of(tmp_path, *options, own=TEMPLATE)
    assert "### Instruction:" in render_chat(speech.tokenizer, [ASKED])
    kept = speech_of(tmp_path, END, own=TEMPLATE)
    assert kept.tokenizer.chat_template == TEMPLATE


def test_an_end_of_turn_that_it_does_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"<\|end\|> does not close .*'</s>' does"):
        speech_of(tmp_path, "chat_template=alpaca", END)


@pytest.mark.parametrize("text", ["{{ messages", "{{ messages[0]['content'] + 1 }}", "{{ 1 / 0 }}"])
def test_a_text_that_is_no_jinja_or_fails_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="The chat template does not take the turns"):
        speech_of(tmp_path, f'model.chat_template="{text}"', EOS)
