"""The prompts put to every arm, and the completions that come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_exp.config.schema import EvaluationConfig
from ssah_exp.data.chat import encode_request
from ssah_exp.data.datasets import RunData
from ssah_exp.data.sources import Example
from ssah_exp.digest import digest_of
from ssah_exp.errors import StoreError
from ssah_exp.models.tokenizer import Speech

HARMFUL, BENIGN, BORDERLINE = "harmful", "benign", "borderline"


@dataclass(frozen=True)
class Question:
    """One prompt of one set in one style.

    Attributes:
        set: ``harmful``, ``benign`` or ``borderline``.
        style: Prompt style; under attack, ``STYLE+ATTACK``.
        prompt: The request, as the data set has it; judges see this.
        category: What kind of request it is.
        attempt: Number of an attack's attempt, from 0; None = no attack.
        put: The user's turn that an attack made of the request.
        prefill: What the answer was made to begin with; it is part of the completion.
        system: The system message that belongs to the request; it replaces the run's own.
    """

    set: str
    style: str
    prompt: str
    category: str | None
    attempt: int | None = None
    put: str | None = None
    prefill: str | None = None
    system: str | None = None

    @property
    def key(self) -> list[Any]:
        """What tells this question from others with the same tokens."""
        attacked = [] if self.attempt is None else [self.prompt, self.attempt, self.put]
        return [self.set, self.style, *attacked]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; fields of attacks and a system message only where there is one."""
        content = dict(self.__dict__)
        if self.attempt is None:
            del content["attempt"], content["put"], content["prefill"]
        if self.system is None:
            del content["system"]
        return content


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt.

    Attributes:
        ids: Token ids.
        group: Prompts of one group are likely to begin alike (one prompt style).
        given: How many of the last ids belong to the answer already.
    """

    ids: tuple[int, ...]
    group: str
    given: int = 0


@dataclass(frozen=True)
class Completion:
    """A question with a model's answer."""

    question: Question
    text: str


def questions_of(data: RunData, evaluation: EvaluationConfig) -> list[Question]:
    """Harmful requests in every harmful style, then plain and borderline benign requests."""
    harmful = [
        Question(HARMFUL, style, item.prompt, item.category, system=item.system)
        for style in evaluation.harmful_styles
        for item in data.harmful_eval
    ]
    benign = [
        Question(name, evaluation.benign_style, item.prompt, item.category, system=item.system)
        for name, items in ((BENIGN, data.benign_eval), (BORDERLINE, data.borderline_eval))
        for item in items
    ]
    return harmful + benign


def encode_questions(speech: Speech, questions: Sequence[Question], system: str) -> list[Prompt]:
    """Tokenise each question in its style, with its own system message or else ``system``."""
    return [
        Prompt(
            tuple(
                encode_request(speech, Example(item.prompt, system=item.system), item.style, system)
            ),
            item.style,
        )
        for item in questions
    ]


def positions_needed(prompts: Sequence[Prompt], new_tokens: int) -> int:
    """Tokens of the longest prompt with its answer."""
    return new_tokens + max((len(prompt.ids) for prompt in prompts), default=0)


def fingerprint_prompts(prompts: Sequence[Prompt]) -> str:
    """sha256 over token ids and their order, and over where given answers begin."""
    content: list[Any] = [list(prompt.ids) for prompt in prompts]
    if any(prompt.given for prompt in prompts):
        content.append([prompt.given for prompt in prompts])
    return digest_of(content)


def write_completions(path: Path, questions: Sequence[Question], texts: Sequence[str]) -> None:
    """Write :func:`completion_lines`."""
    path.write_text(completion_lines(questions, texts), encoding="utf-8")


def completion_lines(questions: Sequence[Question], texts: Sequence[str]) -> str:
    """JSON lines, one completion each."""
    lines = (
        json.dumps({**question.as_dict(), "completion": text})
        for question, text in zip(questions, texts, strict=True)
    )
    return "".join(f"{line}\n" for line in lines)


def read_completions(path: Path) -> list[Completion]:
    """Read what :func:`write_completions` wrote.

    Raises:
        StoreError: The file is damaged.
    """
    completions: list[Completion] = []
    try:
        with path.open(encoding="utf-8") as stream:  # ``splitlines`` would also split at U+2028
            for line in stream:
                row: dict[str, Any] = json.loads(line)
                text = row.pop("completion")
                completions.append(Completion(Question(**row), text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"Completions file {path} cannot be read: {error}") from error
    return completions
