"""Pairs for DPO from a model's own answers, which are what is to be unlearned."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_exp.data.chat import encode_answer, encode_request
from ssah_exp.data.preferences import Answered, Pair, pairs_from_answers
from ssah_exp.data.sources import Example
from ssah_exp.evaluation.questions import Prompt, Question, read_completions
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages


def pairs_against(
    stages: Stages, base: ModelRef, examples: Sequence[Example], styles: Sequence[str]
) -> list[Pair]:
    """The data's responses as chosen, the model's own answers to the same prompts as rejected.

    Examples go through ``styles`` in turn, as supervised training puts them, and are answered in
    the very style that they will be trained in: what a model says to a request as plain text is
    not what it says to it as chat.

    Args:
        stages: What all stages share; answers are a stage of their own.
        base: The unaligned model.
        examples: Requests with responses.
        styles: Prompt styles, as in :mod:`ssah_exp.data.chat`.

    Raises:
        DataError: A request has no response, or all answers equal the responses.
    """
    used = [styles[index % len(styles)] for index in range(len(examples))]
    asked = list(zip(examples, used, strict=True))
    system = stages.config.evaluation.system_prompt
    questions = [Question("preference", style, item.prompt, None) for item, style in asked]
    prompts = [
        Prompt(tuple(encode_request(stages.speech, item, style, system)), style)
        for item, style in asked
    ]
    entry = stages.answers(base, None, questions, prompts, "answers to reject")
    stages.reporter.done("answers to reject", entry)
    texts = [item.text for item in read_completions(entry.folder / "completions.jsonl")]
    answers = [_answered(stages, *item) for item in zip(texts, used, strict=True)]
    return pairs_from_answers(examples, answers)


def _answered(stages: Stages, text: str, style: str) -> Answered:
    """With whether it breaks off, by its length as tokens.

    Decoding may lose one at either end; an answer taken for cut only goes without end of turn.
    """
    length = len(encode_answer(stages.speech, text, style))
    return Answered(text, style, cut=length >= stages.config.evaluation.max_new_tokens - 1)
