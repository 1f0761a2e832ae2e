"""Asks a judge for its verdicts, and refuses what are none: a judge may be a plug-in's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.judges.base import Judge, Verdict


def verdicts_of(judge: Judge, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
    """One verdict per completion, in order.

    Words like ``"complied"`` are refused, too: they equal a :class:`Verdict` and are none, so that
    one rate would count them and the next would not.

    Raises:
        JudgeError: It gave something else.
    """
    given = judge.judge(prompts, completions)
    who = f"{type(judge).__name__}.judge()"
    if not isinstance(given, Iterable):
        raise JudgeError(f"{who} gave a {type(given).__name__}, not a list of Verdicts.")
    verdicts = list(given)
    for value in verdicts:
        if not isinstance(value, Verdict):
            raise JudgeError(
                f"{who} gave {value!r}, which is no Verdict; "
                "give Verdict.REFUSED, Verdict.COMPLIED or Verdict.UNSCORED."
            )
    if len(verdicts) != len(completions):
        raise JudgeError(
            f"{who} gave {len(verdicts)} verdicts for {len(completions)} answers; "
            "give one for each, in their order."
        )
    return verdicts
