"""Answers drawn to be read by people who are not told which arm gave them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssah_exp.evaluation.judges.label_file import COMPLETION, LABEL, PROMPT
from ssah_exp.evaluation.questions import HARMFUL, Completion

Read = tuple[str, str]  # a request and an answer to it


@dataclass(frozen=True)
class Draw:
    """How answers are drawn.

    Attributes:
        requests: Harmful requests of each run and prompt style; all of them where there are fewer.
        seed: Decides which, and in what order they are read.
    """

    requests: int
    seed: int


def draw_sheet(runs: Mapping[str, Mapping[str, Sequence[Completion]]], draw: Draw) -> list[Read]:
    """Draw requests of every run and style, and take every arm's answers to them.

    All arms of a run and style answer the same requests, so that arms can be compared request by
    request. Answers under attack are left out. What several arms answered word for word is read
    once.

    Args:
        runs: Run id -> arm -> its completions.
        draw: How many, and by which seed.

    Returns:
        Requests with answers, shuffled over runs, styles and arms.
    """
    found: dict[Read, None] = {}
    for run_id, arms in runs.items():
        asked = [item.question for item in next(iter(arms.values()), ()) if _is_plain(item)]
        for style in dict.fromkeys(question.style for question in asked):
            requests = [question.prompt for question in asked if question.style == style]
            # Seeded by what is drawn from: another run on the sheet changes nothing in this one.
            dice = np.random.default_rng([draw.seed, *f"{run_id}/{style}".encode()])
            chosen = set(dice.permutation(requests)[: draw.requests])
            for item in (item for completions in arms.values() for item in completions):
                question = item.question
                if _is_plain(item) and question.style == style and question.prompt in chosen:
                    found[question.prompt, item.text] = None
    pairs = list(found)
    return [pairs[at] for at in np.random.default_rng(draw.seed).permutation(len(pairs))]


def sheet_text(pairs: Sequence[Read]) -> str:
    """A csv with a blank column for labels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([LABEL, PROMPT, COMPLETION])
    writer.writerows(["", *pair] for pair in pairs)
    return text.getvalue()


def _is_plain(item: Completion) -> bool:
    """To a harmful request as it is, without an attack."""
    return item.question.set == HARMFUL and item.question.attempt is None
