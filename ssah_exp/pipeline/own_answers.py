"""What a model itself says to the requests of a data set, to learn from or to calibrate with."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_exp.data.chat import encode_answer
from ssah_exp.data.preferences import OwnAnswer
from ssah_exp.data.sources import Example
from ssah_exp.evaluation.questions import Question, encode_questions, read_completions
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.stages import Stages


def own_answers(
    stages: Stages,
    ref: ModelRef,
    examples: Sequence[Example],
    styles: Sequence[str],
    use: str,
    label: str,
) -> list[OwnAnswer]:
    """A model's greedy answer to each request, of ``evaluation.max_new_tokens`` at most.

    Args:
        stages: What all stages share; answers are a stage of their own.
        ref: The model.
        examples: Requests; their responses are not read.
        styles: The prompt style of each.
        use: What the answers are for; enters the key of the cache.
        label: The stage's name in records and progress.
    """
    asked = list(zip(examples, styles, strict=True))
    questions = [
        Question(use, style, item.prompt, None, system=item.system) for item, style in asked
    ]
    prompts = encode_questions(stages.speech, questions, stages.config.evaluation.system_prompt)
    entry = stages.answers(ref, None, questions, prompts, label)
    stages.reporter.done(label, entry)
    texts = [item.text for item in read_completions(entry.folder / "completions.jsonl")]
    return [_answered(stages, *item) for item in zip(texts, styles, strict=True)]


def _answered(stages: Stages, text: str, style: str) -> OwnAnswer:
    """An answer, and whether it was cut off, judged by its number of tokens.

    Decoding may lose a token, hence the margin of one; an answer wrongly taken as cut off merely
    gets no end of turn. One that ran on in blanks up to the limit is taken as ended, since
    completions are kept stripped.
    """
    length = len(encode_answer(stages.speech, text, style))
    return OwnAnswer(text, style, cut=length >= stages.config.evaluation.max_new_tokens - 1)
