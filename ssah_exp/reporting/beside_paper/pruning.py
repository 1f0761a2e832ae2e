"""Table 1: our classes beside the paper's, model by model."""

from __future__ import annotations

from collections.abc import Iterator

from ssah_exp.config.vocabulary import ALIGNED
from ssah_exp.evaluation.attack_metrics import attacked_style, joined_styles
from ssah_exp.evaluation.metric_names import MEAN, PERPLEXITY, UNITS, asr_name
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper import protocol
from ssah_exp.reporting.beside_paper.benchmarks import (
    AVERAGE,
    SIX,
    benchmark_differs,
    benchmark_metric,
    has_counterpart,
)
from ssah_exp.reporting.beside_paper.pair import PaperPair, find_row, published_number, sources_of
from ssah_exp.reporting.published import read_published
from ssah_exp.reporting.rows import Block, Cell, Row
from ssah_exp.reporting.text import heading

_N, _TOKENS, _WINDOW = 100, 256, 4096
_GROUPS = {"dense": ALIGNED, "SCU": "SCU", "UCU": "UCU", "RU": "RU"}
# Published column -> our prompt style; for Llama-2 the printed average has a third value.
_STYLES = {
    "asr_without_system": "raw",
    "asr_with_system": "raw_system",
    "asr_avg_as_printed": MEAN,
}
_QUESTIONS = 200  # the first of each task


def pruning_pairs(block: Block) -> list[PaperPair]:
    """Every published value of Table 1 with ours beside it, gaps where we measured none."""
    return list(_pairs(block))


def _pairs(block: Block) -> Iterator[PaperPair]:
    record = block.records[0]
    table = read_published("table1_pruning")
    sources = sources_of(str(record.config["model"]["name"]), table["model"])
    fill = record.config["ablation"]["primary_fill"]
    for item in table[table["model"].isin(sources)].to_dict("records"):
        label, source = _GROUPS[item["group"]], str(item["model"])
        row = find_row(block, label, None if label == ALIGNED else fill)
        model = tuple(protocol.model_differs(record, source))
        units = tuple(_units_differ(record, source, label, row, item["share_of_units_pct"]))
        for column, metric, quantity, differs in _columns(record, source):
            if metric == UNITS and label == ALIGNED:
                continue  # nothing is pruned
            yield PaperPair(
                arm=label,
                fill=None if label == ALIGNED else fill,
                metric=metric,
                quantity=quantity,
                ours=_ours(row, metric) if has_counterpart(record, column) else None,
                source=source,
                published=published_number(item[column], 1.0 if metric == PERPLEXITY else 100.0),
                differs=(*model, *units, *differs),
            )


def _units_differ(
    record: RunRecord, source: str, label: str, row: Row | None, printed: object
) -> Iterator[str]:
    """How a class was found, how large it is and what was done with it; nothing if none was."""
    if label not in protocol.BUDGETS:
        return
    yield from protocol.budget_differs(record, label)
    yield from protocol.scores_differ(record)
    yield from protocol.refusals_differ(record)
    yield from protocol.fill_differs(record)
    if row is not None:
        yield from protocol.size_differs(record, source, row.unit_share, float(str(printed)))


def _columns(record: RunRecord, source: str) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Published column, our metric, its heading, and what the two differ in."""
    judge = record.config["evaluation"]["primary_judge"]
    asr = (
        *protocol.requests_differ(record, protocol.ADVBENCH, _N),
        *protocol.tokens_differ(record, _TOKENS),
        *protocol.judge_differs(record, judge, protocol.JUDGE),
    )
    yield "share_of_units_pct", UNITS, "units %", ()
    text = tuple(protocol.text_differs(record, _WINDOW))
    yield "wikitext2_ppl", PERPLEXITY, heading(PERPLEXITY), text
    for column, style in _STYLES.items():
        mean = tuple(_mean_differs(record, source)) if style == MEAN else ()
        system = () if style == "raw" else tuple(protocol.system_differs(record))
        name = asr_name(_mean_of(record, source) if style == MEAN else style, judge)
        yield column, name, heading(name), (*asr, *mean, *system)
    for task in (*SIX, AVERAGE):
        name = benchmark_metric(record, task)
        differs = tuple(benchmark_differs(record, task, _QUESTIONS))
        yield task, name, heading(name), differs


def _mean_of(record: RunRecord, source: str) -> str:
    """Style of our mean that is made like the printed one: with an attack for Llama-2, if any."""
    joining = record.config["evaluation"].get("mean_with")
    return attacked_style(MEAN, joining) if joining and _counts_suffixes(source) else MEAN


def _counts_suffixes(source: str) -> bool:
    """Whether the printed average has a third value, the worst of three GCG suffixes: Llama-2's."""
    return source.startswith("Llama-2")


def _mean_differs(record: RunRecord, source: str) -> Iterator[str]:
    evaluation = record.config["evaluation"]
    ours = list(evaluation["harmful_styles"])
    if _counts_suffixes(source):
        if evaluation.get("mean_with"):
            ours = joined_styles(evaluation)
        # Which suffixes the paper took is not published: even three columns are not the same.
        yield f"mean: of {' and '.join(ours)} for raw, raw_system and GCG"
    elif set(ours) != {"raw", "raw_system"}:
        yield f"mean: of {' and '.join(ours)} for raw and raw_system"


def _ours(row: Row | None, metric: str) -> Cell | None:
    if row is None:
        return None
    if metric == UNITS:
        return Cell(row.unit_share, None, None, None, 0, 1, "counted")
    return row.cells.get(metric)
