"""On how many examples the paper measured, and which of our cells rest on fewer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ssah_exp.evaluation.metrics import PERPLEXITY
from ssah_exp.evaluation.utility.metrics import MEAN
from ssah_exp.reporting.rows import Block, Cell

MARK = "†"
# Harmful prompts behind an ASR: AdvBench's first 100; all of AdvBench; HEx-PHI.
_ASR_PROMPTS = {"table1_pruning": 100, "table2_freezing": 520, "table3_peft": 330}
# Words of WikiText-2's test text (Merity et al. 2016, arXiv 1609.07843); tokens are never fewer.
_TEXT_WORDS = {"table1_pruning": 245_569}

# First examples of each task of lm-evaluation-harness.
_TASK_QUESTIONS = {"table1_pruning": 200}


@dataclass(frozen=True)
class Fewer:
    """A cell on fewer examples than the paper's.

    Attributes:
        n: Prompts, or tokens of text.
        of: The paper's.
        what: Of what.
    """

    n: int
    of: int
    what: str


def fewer_than_paper(block: Block, metric: str, cell: Cell) -> Fewer | None:
    """How many fewer; None where it is as many or more, or the paper has no such number."""
    artefact, evaluation = block.records[0].artefact, block.records[0].config["evaluation"]
    if cell.value is None:
        return None
    if metric == PERPLEXITY:
        n = _tokens(cell, evaluation["perplexity"])
        of, what = _TEXT_WORDS.get(artefact), "words of text behind the perplexity"
    elif metric.startswith("asr/"):
        n, of, what = cell.n, _ASR_PROMPTS.get(artefact), "harmful prompts behind the ASR"
    elif metric.startswith("utility/") and metric != MEAN:
        n, of, what = cell.n, _TASK_QUESTIONS.get(artefact), "questions of a utility task"
    else:
        return None
    return Fewer(n, of, what) if of is not None and n is not None and n < of else None


def _tokens(cell: Cell, settings: Mapping[str, Any]) -> int | None:
    """Tokens of text behind a perplexity; None where the window is the model's own and unknown."""
    if isinstance(settings["window"], int):
        return int(cell.n * settings["window"])
    limit: int | None = settings["max_tokens"]
    return limit


def marked(text: str, block: Block, metric: str, cell: Cell) -> str:
    """A cell's text, with a dagger where it rests on fewer examples."""
    return text if fewer_than_paper(block, metric, cell) is None else f"{text} {MARK}"


def footnote(block: Block) -> str | None:
    """What the daggers of a block mean; None if it has none."""
    found = sorted(set(_fewer(block)), key=lambda item: item.what)
    if not found:
        return None
    listed = "; ".join(
        f"{item.n:,} tokens against the {item.of:,} {item.what}"
        if "text" in item.what
        else f"{item.n:,} of {item.of:,} {item.what}"
        for item in found
    )
    return f"{MARK} Fewer examples than in the paper: {listed}."


def _fewer(block: Block) -> Iterable[Fewer]:
    for row in block.rows:
        for metric, cell in row.cells.items():
            if (found := fewer_than_paper(block, metric, cell)) is not None:
                yield found
