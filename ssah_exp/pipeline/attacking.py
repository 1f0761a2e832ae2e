"""From attempts to questions: what an arm is asked under attack."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ssah_exp.cache import Entry
from ssah_exp.config.schema import AttackConfig
from ssah_exp.data.chat import encode_answer, encode_request
from ssah_exp.data.selection import evenly
from ssah_exp.data.sources import Example
from ssah_exp.errors import DataError
from ssah_exp.evaluation.attack_metrics import attacked_style
from ssah_exp.evaluation.attacks import Attempt, Request
from ssah_exp.evaluation.attacks.search import attempts_of
from ssah_exp.evaluation.questions import HARMFUL, Prompt, Question
from ssah_exp.models.tokenizer import Speech
from ssah_exp.pipeline.stages import Stages


def requests_of(examples: Sequence[Example], attack: AttackConfig) -> list[Request]:
    """The requests under attack, style by style."""
    return [request for request, _ in _attacked(examples, attack)]


def _attacked(examples: Sequence[Example], attack: AttackConfig) -> list[tuple[Request, Example]]:
    """Each request under attack, with the example that it is made of."""
    chosen = evenly(examples, attack.requests)
    return [
        (Request(item.prompt, style, item.system), item)
        for style in attack.styles
        for item in chosen
    ]


def questions_under_attack(
    stages: Stages, attack: str, found: Entry
) -> tuple[list[Question], list[Prompt]]:
    """Every attempt as a question, and its tokens.

    Args:
        stages: With the tokenizer and the config.
        attack: The attack's name.
        found: Cache entry with the attempts of :func:`requests_of`, in the same order.

    Raises:
        DataError: A beginning that an answer is to have has no tokens in this tokenizer.
    """
    rows = json.loads((found.folder / "attempts.json").read_text(encoding="utf-8"))
    system = stages.config.evaluation.system_prompt
    asked = _attacked(stages.data.harmful_eval, stages.config.evaluation.attacks[attack])
    questions: list[Question] = []
    prompts: list[Prompt] = []
    for (request, example), attempts in zip(asked, attempts_of(rows), strict=True):
        style = attacked_style(request.style, attack)
        for number, attempt in enumerate(attempts):
            put = request.put(attempt.text)
            ids = encode_request(stages.speech, put, request.style, system)
            given, begun = _given(stages.speech, attempt, request.style)
            questions.append(
                Question(
                    HARMFUL,
                    style,
                    request.prompt,
                    example.category,
                    number,
                    attempt.text,
                    begun,
                    request.system,
                )
            )
            prompts.append(Prompt((*ids, *given), style, len(given)))
    return questions, prompts


def _given(speech: Speech, attempt: Attempt, style: str) -> tuple[list[int], str | None]:
    """Tokens an answer is made to begin with, and their text, stripped; none without a prefill."""
    if not attempt.prefill:
        return [], None
    ids = encode_answer(speech, attempt.prefill, style)
    text = str(speech.tokenizer.decode(ids, skip_special_tokens=True)).strip()
    if not text:
        raise DataError(f"A beginning of {attempt.prefill!r} vanishes in this tokenizer.")
    return ids, text
