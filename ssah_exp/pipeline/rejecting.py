"""Pairs for DPO from a model's own answers, which are what is to be unlearned."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_exp.data.preferences import Pair, pairs_from_answers
from ssah_exp.data.sources import Example
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.own_answers import own_answers
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
    answers = own_answers(stages, base, examples, used, "preference", "answers to reject")
    return pairs_from_answers(examples, answers)
