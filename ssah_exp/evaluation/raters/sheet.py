"""Answers drawn to be read by people who are not told which arm gave them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssah_exp.digest import digest_of
from ssah_exp.evaluation.judges.harm import Answered
from ssah_exp.evaluation.judges.label_file import COMPLETION, LABEL, PROMPT, as_cell, as_read
from ssah_exp.evaluation.questions import HARMFUL, Completion


@dataclass(frozen=True)
class Draw:
    """How answers are drawn.

    Attributes:
        requests: Harmful requests to draw from each run; all of them where there are fewer.
        seed: Decides which are drawn, and in what order answers are read.
    """

    requests: int
    seed: int

    def rank(self, prompt: str) -> str:
        """Sort key of a request: those with the lowest are drawn."""
        return digest_of([self.seed, prompt])


def draw_sheet(
    runs: Mapping[str, Mapping[str, Sequence[Completion]]], draw: Draw
) -> list[Answered]:
    """Draw requests, and take what every arm of every run answered to them, in every prompt style.

    Labels are found again by the texts of request and answer. If a request were drawn in one run or
    style but not in another, labels would reach its answers there, too, wherever they happen to be
    the same, and the sample would depend on what was answered. So there is one set of requests for
    the whole sheet: those that rank first in any run by a hash of seed and request. Runs with the
    same requests agree on them; a run with others may get a few more. Answers under attack are left
    out. An answer given word for word more than once is read once.

    Args:
        runs: Run id -> arm -> its completions.
        draw: How many, and by which seed.

    Returns:
        Requests with answers as :func:`~ssah_exp.evaluation.judges.label_file.as_read` gives them,
        shuffled over runs, styles and arms.
    """
    answers = [
        [item for completions in arms.values() for item in completions if _is_plain(item)]
        for arms in runs.values()
    ]
    chosen = {
        prompt
        for items in answers
        for prompt in sorted({item.question.prompt for item in items}, key=draw.rank)[
            : draw.requests
        ]
    }
    read = {
        as_read(item.question.prompt, item.text)
        for items in answers
        for item in items
        if item.question.prompt in chosen
    }
    pairs = sorted(read)
    return [pairs[at] for at in np.random.default_rng(draw.seed).permutation(len(pairs))]


def sheet_text(pairs: Sequence[Answered]) -> str:
    """A csv with a blank column for labels, in which no spreadsheet finds a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([LABEL, PROMPT, COMPLETION])
    writer.writerows(["", *map(as_cell, pair)] for pair in pairs)
    return text.getvalue()


def _is_plain(item: Completion) -> bool:
    """Whether it answers a harmful request as it is, without an attack."""
    return item.question.set == HARMFUL and item.question.attempt is None
