"""Files of conversations: lists of messages with a role and a content each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_exp.data.files import Row, read_items
from ssah_exp.data.selection import RowSelection
from ssah_exp.data.sources import Example
from ssah_exp.errors import DataError

_SHAPES = (("user", "assistant"), ("system", "user", "assistant"))


@dataclass(frozen=True)
class ConversationSource(RowSelection):
    """Conversations of a json or jsonl file, each one request and its answer.

    A conversation is a list of messages, or an object that holds one as ``messages`` and may have
    columns of its own. A system message becomes :attr:`Example.system`.

    Attributes:
        path: The file.
    """

    path: str

    def load(self, seed: int) -> list[Example]:
        """Read the file and select.

        Raises:
            DataError: The file cannot be read, a conversation has other turns than one request
                and its answer, or the selection fails.
        """
        path = Path(self.path).expanduser()
        rows = [
            _exchange(item, f"{path}, conversation {number}")
            for number, item in enumerate(read_items(path), start=1)
        ]
        kept = self.select(rows, str(path), seed, lambda row: bool(row["user"]))
        return [Example(row["user"], row["assistant"], system=row["system"]) for row in kept]


def _exchange(item: Any, origin: str) -> Row:
    """A conversation as columns: one per role, beside the object's own of other names."""
    columns = dict(item) if isinstance(item, Mapping) else {"messages": item}
    messages = columns.pop("messages", None)
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise DataError(f"{origin} is no list of messages with a role and a content.")
    # A blank system message is none: prompt styles with an empty one are refused.
    turns = [
        (message["role"], message["content"].strip())
        for message in messages
        if message["role"] != "system" or message["content"].strip()
    ]
    roles = tuple(role for role, _ in turns)
    if roles not in _SHAPES:
        raise DataError(
            f"{origin} has the turns {', '.join(roles) or 'none'}; one request and its answer "
            "(user, assistant) with or without a system message before them can be used."
        )
    return {**columns, "system": None, **dict(turns)}


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(value.get(key), str) for key in ("role", "content")
    )
