"""MT-bench's questions, and a model's answers to both turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ssah_exp.data.files import read_rows
from ssah_exp.errors import DataError, StoreError
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.kept import KeptCompletions
from ssah_exp.evaluation.mt_bench.names import TURNS
from ssah_exp.evaluation.questions import Prompt, fingerprint_prompts
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.tokenizer import Speech, render_chat


@dataclass(frozen=True)
class Conversation:
    """A question with its follow-up.

    Attributes:
        number: ``question_id``.
        category: One of MT-bench's eight.
        turns: What the user says, first and second.
    """

    number: int
    category: str
    turns: tuple[str, str]


@dataclass(frozen=True)
class ConversationAnswers:
    """A model's answers to one conversation, first and second turn."""

    number: int
    turns: tuple[str, str]


def read_conversations(path: Path, limit: int | None = None) -> list[Conversation]:
    """Read FastChat's ``question.jsonl``, its first ``limit`` questions or all.

    Raises:
        DataError: The file is missing or malformed, or a question does not have two turns.
    """
    try:
        found = [
            Conversation(int(row["question_id"]), str(row["category"]), _two(row["turns"]))
            for row in read_rows(path.expanduser())
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no file of MT-bench questions: {error!r}.") from error
    return found[:limit]


def _two(turns: Sequence[str]) -> tuple[str, str]:
    first, second = turns
    return str(first), str(second)


def hold(
    loaded: LoadedModel,
    conversations: Sequence[Conversation],
    decoding: Decoding,
    advance: Callable[[int], None] = lambda done: None,
    partial: Path | None = None,
) -> list[ConversationAnswers]:
    """Answer both turns greedily, through the chat template; the second sees the first's answer.

    Args:
        loaded: Model and tokenizer.
        conversations: What the user says.
        decoding: Length and batching.
        advance: Called with the number of answers just given.
        partial: Folder where batches are kept, so that a killed call goes on from there; None =
            nowhere. It must belong to this model alone.

    Raises:
        DataError: The tokenizer has no chat template.
        StoreError: The disk is full or not writable.
    """
    said: list[list[str]] = [[] for _ in conversations]
    for turn in range(TURNS):
        prompts = [
            _prompt(loaded.speech, item.turns[: turn + 1], answers)
            for item, answers in zip(conversations, said, strict=True)
        ]
        kept = _kept(partial, prompts)
        texts = generate(loaded, prompts, decoding, advance, kept)
        for answers, text in zip(said, texts, strict=True):
            answers.append(text)
    return [
        ConversationAnswers(item.number, _two(answers))
        for item, answers in zip(conversations, said, strict=True)
    ]


def longest_conversation(speech: Speech, conversations: Sequence[Conversation], new: int) -> int:
    """Tokens of the longest conversation in which every answer takes ``new``.

    Raises:
        DataError: The tokenizer has no chat template.
    """
    unsaid = [""] * (TURNS - 1)
    asked = max(len(_prompt(speech, item.turns, unsaid).ids) for item in conversations)
    return asked + TURNS * new


def _kept(partial: Path | None, prompts: Sequence[Prompt]) -> KeptCompletions | None:
    """The kept answers to one turn.

    They are filed by the turn's prompts, not by its number: second answers belong to the first
    answers that they saw.
    """
    if partial is None:
        return None
    return KeptCompletions(partial / fingerprint_prompts(prompts)[:16], len(prompts))


def _prompt(speech: Speech, user: Sequence[str], assistant: Sequence[str]) -> Prompt:
    if not speech.tokenizer.chat_template:
        raise DataError(
            "MT-bench needs a chat template; this tokenizer has none. Give one "
            "(chat_template=alpaca, say)."
        )
    turns: list[dict[str, str]] = []
    for number, text in enumerate(user):
        turns.append({"role": "user", "content": text})
        if number < len(assistant):
            turns.append({"role": "assistant", "content": assistant[number]})
    text = render_chat(speech.tokenizer, turns)
    ids = speech.tokenizer(text, add_special_tokens=False).input_ids
    return Prompt(tuple(ids), f"turn {len(user)}")


def write_answers(path: Path, answers: Sequence[ConversationAnswers]) -> None:
    """Write JSON lines, one conversation each."""
    lines = [json.dumps(asdict(item)) for item in answers]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_answers(path: Path) -> list[ConversationAnswers]:
    """Undo :func:`write_answers`.

    Raises:
        StoreError: The file is damaged.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [ConversationAnswers(row["number"], _two(row["turns"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"MT-bench answers {path} cannot be read: {error}") from error
