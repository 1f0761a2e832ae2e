"""What MT-bench's judge is told, from files that its authors publish, and how its rating is read.

A rating stands in double brackets, ``[[7]]``. The prompts do not ship here: the user names
FastChat's ``judge_prompts.jsonl`` and its reference answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ssah_exp.data.files import read_rows
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError
from ssah_exp.evaluation.judges.base import Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.rubrics import Rubric, UnusableReplyError
from ssah_exp.evaluation.mt_bench.conversations import Conversation, read_conversations

# Categories whose answers are judged beside a reference, as in FastChat.
_WITH_REFERENCE = ("math", "reasoning", "coding")
_PROMPTS = ("single-v1", "single-v1-multi-turn", "single-math-v1", "single-math-v1-multi-turn")
_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_RATING_AT_LEAST = re.compile(r"\[(\d+\.?\d*)\]")
_READING = 2  # raised when the same reply is read otherwise


@dataclass(frozen=True, kw_only=True)
class MtBenchRubric(Rubric):
    """One answer graded from 1 to 10: Zheng et al. 2023, arXiv 2306.05685.

    It asks about quality, not harm: a verdict says no more than that there is a rating.

    Attributes:
        questions: File of questions.
        prompts: File of judge prompts.
        references: File of reference answers.
    """

    questions: str
    prompts: str
    references: str

    NAME: ClassVar[str] = "mt_bench"
    SCALE: ClassVar[Scale] = Scale(1, 10)

    def __post_init__(self) -> None:
        """Read every file, to refuse wrong ones before anything is asked.

        Raises:
            DataError: A file is missing or malformed, or lacks what a question needs.
        """
        lacking = [
            str(item.number)
            for item in self._conversations.values()
            if item.category in _WITH_REFERENCE and item.number not in self._references
        ]
        if lacking:
            raise DataError(f"{self.references} lacks answers to questions {', '.join(lacking)}.")
        if missing := [name for name in _PROMPTS if name not in self._prompts]:
            raise DataError(f"{self.prompts} lacks the judge prompts {', '.join(missing)}.")

    @cached_property
    def _conversations(self) -> dict[int, Conversation]:
        return {item.number: item for item in read_conversations(Path(self.questions))}

    @cached_property
    def _prompts(self) -> dict[str, tuple[str, str]]:
        """Name -> system prompt and template."""
        path = Path(self.prompts).expanduser()
        try:
            return {
                str(row["name"]): (str(row["system_prompt"]), str(row["prompt_template"]))
                for row in read_rows(path)
            }
        except KeyError as error:
            raise DataError(f"{path} is no file of judge prompts: no column {error}.") from error

    @cached_property
    def _references(self) -> dict[int, list[str]]:
        path = Path(self.references).expanduser()
        try:
            return {
                int(row["question_id"]): [str(text) for text in row["choices"][0]["turns"]]
                for row in read_rows(path)
            }
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no file of reference answers: {error!r}.") from error

    def describe(self) -> dict[str, Any]:
        """Name, a hash of all the judge is told but the answers, and the version of reading."""
        questions = [
            [item.number, item.category, *item.turns] for item in self._conversations.values()
        ]
        told = [{name: self._prompts[name] for name in _PROMPTS}, self._references, questions]
        text = digest_of(json.loads(json.dumps(told)))
        return {"name": self.NAME, "text": text, "reading": _READING}

    def messages(self, prompt: str, completion: str) -> list[dict[str, str]]:
        """The conversation that asks for a rating.

        Args:
            prompt: The ``question_id``.
            completion: A JSON list of one answer (first turn) or two (second turn).

        Raises:
            DataError: A judge prompt has a place for which there is no value.
        """
        conversation = self._conversations[int(prompt)]
        answers: list[str] = json.loads(completion)
        system, template = self._prompts[_prompt_name(conversation, answers)]
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": self._filled(template, conversation, answers)},
        ]

    def _filled(self, template: str, conversation: Conversation, answers: Sequence[str]) -> str:
        fields = {"question": conversation.turns[0], "answer": answers[0]}
        fields |= {f"question_{at}": text for at, text in enumerate(conversation.turns, start=1)}
        fields |= {f"answer_{at}": text for at, text in enumerate(answers, start=1)}
        references = self._references.get(conversation.number, [])
        fields |= {f"ref_answer_{at}": text for at, text in enumerate(references, start=1)}

        def value(found: re.Match[str]) -> str:
            if found[1] not in fields:
                raise DataError(f"{self.prompts}: no value for {found[0]} in a judge prompt.")
            return fields[found[1]]

        # In one pass: braces within an answer are plain text.
        return re.sub(r"\{(\w+)\}", value, template)

    def read(self, reply: str) -> Judgement:
        """The first rating in a reply, as FastChat reads it: in double brackets, else in single.

        Raises:
            UnusableReplyError: There is none, or it is out of range.
        """
        found = _RATING.search(reply) or _RATING_AT_LEAST.search(reply)
        if found is None:
            raise UnusableReplyError("reply without a rating")
        rating = float(found[1])
        if not self.SCALE.low <= rating <= self.SCALE.high:
            raise UnusableReplyError("rating out of range")
        return Judgement(Verdict.COMPLIED, rating)


def _prompt_name(conversation: Conversation, answers: Sequence[str]) -> str:
    kind = "single-math-v1" if conversation.category in _WITH_REFERENCE else "single-v1"
    return kind if len(answers) == 1 else f"{kind}-multi-turn"
