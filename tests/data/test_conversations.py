"""Conversation files: every form, every shape that is refused, and where a system message goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.data.chat import encode_pair
from ssah_exp.data.conversations import ConversationSource
from ssah_exp.data.sources import BundledSource, Example, RefusedRequests
from ssah_exp.errors import DataError
from ssah_exp.models.tokenizer import check_tokenizer
from tests.tiny import tiny_speech, tiny_tokenizer


def said(*turns: str) -> list[dict[str, str]]:
    """``"user hello"`` -> a message of that role."""
    return [dict(zip(("role", "content"), turn.split(" ", 1), strict=True)) for turn in turns]


PLAIN = said("user  a request\n", "assistant an answer")
NAMED = said("system \nYou are X.\n", "user another", "assistant its answer")


def loaded(tmp_path: Path, items: list[Any], **options: Any) -> list[Example]:
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(items), encoding="utf-8")
    return ConversationSource(path=str(path), **options).load(0)


def test_bare_lists_and_objects_give_the_same_examples(tmp_path: Path) -> None:
    expected = [
        Example("a request", "an answer"),
        Example("another", "its answer", system="You are X."),
    ]
    assert loaded(tmp_path, [PLAIN, NAMED]) == expected
    assert loaded(tmp_path, [{"messages": PLAIN}, {"messages": NAMED, "id": 3}]) == expected


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(f"{json.dumps({'messages': PLAIN})}\n{json.dumps(NAMED)}\n", encoding="utf-8")
    assert [row.prompt for row in ConversationSource(str(path)).load(0)] == ["a request", "another"]


def test_a_blank_system_message_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, [[*said("system  \n"), *PLAIN]]) == [Example("a request", "an answer")]


@pytest.mark.parametrize("column", ["", 3, "You are Y."])
def test_only_messages_are_said(tmp_path: Path, column: Any) -> None:
    """An object may have any column of its own; an empty one made the request impossible to put."""
    item = {"messages": PLAIN, "system": column}
    assert loaded(tmp_path, [item]) == [Example("a request", "an answer")]


def test_a_refused_request_keeps_its_own_system_message(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(json.dumps([NAMED]), encoding="utf-8")
    refusals = BundledSource("{text}", where={"category": "any"}, name="refusals.csv")
    (pair,) = RefusedRequests(ConversationSource(path=str(path)), refusals).load(0)
    assert (pair.prompt, pair.system) == ("another", "You are X.")
    assert pair.response in [refusal.prompt for refusal in refusals.load(0)]


def test_blank_requests_are_left_out(tmp_path: Path) -> None:
    assert len(loaded(tmp_path, [PLAIN, said("user  \n", "assistant what?"), NAMED])) == 2


def test_rows_are_selected_as_everywhere(tmp_path: Path) -> None:
    items = [
        {"messages": said(f"user r{number}", "assistant a"), "kind": number % 2}
        for number in range(8)
    ]
    rows = loaded(tmp_path, items, where={"kind": 1}, start=1)
    assert [row.prompt for row in rows] == ["r3", "r5", "r7"]
    with pytest.raises(DataError, match="9 rows asked for, 8 there"):
        loaded(tmp_path, items, sample=9)


@pytest.mark.parametrize(
    ("turns", "roles"),
    [
        (["user a"], "user"),
        (["assistant a", "user b"], "assistant, user"),
        (["user a", "assistant b", "user c", "assistant d"], "user, assistant, user, assistant"),
        (["user a", "system b", "assistant c"], "user, system, assistant"),
        ([], "none"),
    ],
)
def test_other_shapes_are_refused_by_number(tmp_path: Path, turns: list[str], roles: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.json, conversation 2 has the turns {roles};"):
        loaded(tmp_path, [PLAIN, said(*turns)])


@pytest.mark.parametrize(
    "item",
    [
        "text",
        {"prompt": "no messages"},
        {"messages": "text"},
        ["text"],
        [{"role": "user"}],
        [{"role": "user", "content": ["parts"]}],
    ],
)
def test_what_is_no_conversation_is_refused(tmp_path: Path, item: Any) -> None:
    with pytest.raises(DataError, match="conversation 1 is no list of messages with a role"):
        loaded(tmp_path, [item])


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No file"):
        ConversationSource(str(tmp_path / "none.json")).load(0)


@pytest.mark.parametrize("style", ["raw", "raw_system", "chat", "chat_system"])
def test_its_own_system_message_goes_where_the_style_puts_one(style: str) -> None:
    speech = tiny_speech()
    own = encode_pair(speech, Example("w1", "w2", system="w3"), style, "w4", 64)
    style = style if style.endswith("_system") else f"{style}_system"
    assert own == encode_pair(speech, Example("w1", "w2"), style, "w3", 64)
    assert own != encode_pair(speech, Example("w1", "w2"), style, "w4", 64)


def test_without_a_chat_template_it_is_said_what_to_do() -> None:
    """A base model has none, and the style is set in several places."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    speech = check_tokenizer(tokenizer, "<|end|>", None)
    said = r"'chat' needs a chat template.*=alpaca, say.*units\.prompt_style, evaluation"
    with pytest.raises(DataError, match=said):
        encode_pair(speech, Example("w1", "w2"), "chat", None, 9)
    assert encode_pair(speech, Example("w1", "w2"), "raw", None, 9).response_start == 1
