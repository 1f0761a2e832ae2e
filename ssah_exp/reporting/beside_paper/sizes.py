"""On how many examples the paper measured, and which of our cells rest on fewer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssah_exp.evaluation.attack_metrics import ATTEMPT, CONTINUATION, is_attacked
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.evaluation.mt_bench.names import MT_MEAN, TURN_NAMES
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.benchmarks import SIX
from ssah_exp.reporting.beside_paper.measured import ATTACKS, HEXPHI
from ssah_exp.reporting.beside_paper.protocol import benchmark_of, window_of
from ssah_exp.reporting.notes.coverage import partial_coverage
from ssah_exp.reporting.rows import Block, Cell
from ssah_exp.reporting.text import heading

MARK = "†"
# Harmful prompts behind an ASR, by benchmark; requests that the paper did not ask are held against
# the first. The paper prints no number for HarmBench: 400 are all of its text behaviours (Mazeika
# et al. 2024, arXiv 2402.04249), and the printed rates are multiples of 1/1200.
_PROMPTS = {
    "table1_pruning": {"AdvBench": 100},
    "table2_freezing": {"AdvBench": 520, "HEx-PHI": 330, "HarmBench": 400},
    "table3_peft": {"HEx-PHI": 330},
}
# Prompts under attack: in Table 1 the same 100 goals, in Table 2 those of HarmBench.
_ATTACKED = {"table1_pruning": 100, "table2_freezing": 400}
# Answers that GPT-4 scored: those to HEx-PHI.
_SCORED = {"table2_freezing": 330, "table3_peft": 330}
# Words of WikiText-2's test text (Merity et al. 2016, arXiv 1609.07843); tokens are never fewer.
_TEXT_WORDS = {"table1_pruning": 245_569}
# Questions of lm-evaluation-harness: in Table 1 the first of each task, in Table 4 full sets.
_QUESTIONS = {
    "table1_pruning": dict.fromkeys(SIX, 200),
    "table4_alignment_budget": {
        "arc_challenge": 1172,
        "arc_easy": 2376,
        "hellaswag": 10_042,
        "winogrande": 1267,
        "boolq": 3270,
        "piqa": 1838,
        "gsm8k": 1319,
        "mmlu": 14_042,
    },
}
_CONVERSATIONS = {"table4_alignment_budget": 80}


@dataclass(frozen=True)
class Fewer:
    """A cell on fewer examples than the paper's.

    Attributes:
        n: Our number of prompts, answers, questions, or tokens of text.
        of: The paper's number.
        what: What is counted, for a footnote.
    """

    n: int
    of: int
    what: str


def fewer_than_paper(block: Block, metric: str, cell: Cell) -> Fewer | None:
    """Our number and the paper's, if ours is smaller; None if not, or if either is unknown."""
    record = block.records[0]
    found = _paper_size(record, metric)
    if cell.value is None or found is None:
        return None
    of, what = found
    words = metric == PERPLEXITY
    n = _tokens(cell, record) if words else cell.n
    return Fewer(n, of, what) if n is not None and n < of else None


def _paper_size(record: RunRecord, metric: str) -> tuple[int, str] | None:
    """How many examples the paper has behind a metric, and of what; None: no such number."""
    artefact = record.artefact
    if metric == PERPLEXITY:
        of, what = _TEXT_WORDS.get(artefact), "words of text behind the perplexity"
    elif metric.startswith("asr/"):
        return _prompts(record, metric)
    elif metric.startswith("score"):
        of, what = _answers(record, metric), "answers behind a score"
    elif metric.startswith("utility/") and metric != UTILITY_MEAN:
        return _questions(artefact, metric)
    elif metric in (*TURN_NAMES, MT_MEAN):
        of, what = _CONVERSATIONS.get(artefact), "conversations of MT-bench"
    else:
        return None
    return None if of is None else (of, what)


def _prompts(record: RunRecord, metric: str) -> tuple[int, str] | None:
    """Prompts behind an ASR: by the benchmark asked, or under an attack that the paper made."""
    style = metric.split("/")[1]
    if not is_attacked(style):
        sizes = _PROMPTS.get(record.artefact)
        if sizes is None:
            return None
        of = sizes.get(_spelled(benchmark_of(record), sizes), next(iter(sizes.values())))
        return of, "harmful prompts behind the ASR"
    if record.artefact not in _ATTACKED or not _papers_attack(record, style):
        return None
    return _ATTACKED[record.artefact], "harmful prompts behind the ASR under attack"


def _spelled(name: str, names: Iterable[str]) -> str:
    """A benchmark as the paper spells it."""
    return next((known for known in names if known.lower() == name.lower()), name)


def _papers_attack(record: RunRecord, style: str) -> bool:
    """Whether the paper's table has the attack; beside Table 1 every attack is held against it."""
    name = style.partition("+")[2].partition(ATTEMPT)[0].removesuffix(CONTINUATION)
    kind = str(record.attacks.get(name, {}).get("kind", "")).lower()
    return record.artefact != "table2_freezing" or kind in ATTACKS


def _answers(record: RunRecord, metric: str) -> int | None:
    """Answers behind a score: only one by GPT-4's rubric, and of requests without an attack."""
    _, style, judge = metric.split("/")
    rubric = record.judges.get(judge, {}).get("rubric", {}).get("name")
    return None if is_attacked(style) or rubric != HEXPHI else _SCORED.get(record.artefact)


def _questions(artefact: str, metric: str) -> tuple[int, str] | None:
    sizes = _QUESTIONS.get(artefact, {})
    of = sizes.get(metric.split("/")[1])
    if of is None:
        return None
    # One footnote for all tasks where the paper asked as many questions of each.
    alike = len(set(sizes.values())) == 1
    return of, f"questions of {'a utility task' if alike else heading(metric).partition(' %')[0]}"


def _tokens(cell: Cell, record: RunRecord) -> int | None:
    """Tokens of text behind a perplexity; where a window's are not known, the run's most."""
    window = window_of(record)
    if isinstance(window, int):
        return int(cell.n * window)
    limit: int | None = record.config["evaluation"]["perplexity"]["max_tokens"]
    return limit


def marked(text: str, block: Block, metric: str, cell: Cell) -> str:
    """A cell's text, with a dagger where it rests on fewer examples."""
    return text if fewer_than_paper(block, metric, cell) is None else f"{text} {MARK}"


def footnote(block: Block) -> str | None:
    """What the daggers of a block mean; None if it has none."""
    found = sorted(set(_fewer(block)), key=lambda item: (item.what, item.n))
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
    """Every cell on fewer examples than the paper's.

    Left out are metrics without a column whose judge scored some answers only: of those the note
    on coverage tells.
    """
    partial = {_judge(name) for name in partial_coverage(block.records)}
    for row in block.rows:
        for metric, cell in row.cells.items():
            if metric not in block.metrics and _judge(metric) in partial:
                continue
            if (found := fewer_than_paper(block, metric, cell)) is not None:
                yield found


def _judge(metric: str) -> str:
    return metric.rpartition("/")[2]
