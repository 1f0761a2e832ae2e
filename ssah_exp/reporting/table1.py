"""Table 1: every arm with its intervals, controls as mean and spread, the paper's rows below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ssah_exp.config.facts import class_of
from ssah_exp.evaluation.metric_names import MEAN, PERPLEXITY
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN, utility_name
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.benchmarks import SIX
from ssah_exp.reporting.beside_paper.table import with_comparison
from ssah_exp.reporting.captions import (
    budgets_clause,
    closing_notes,
    controls_note,
    intervals_note,
    prompts_clause,
    seeds_text,
)
from ssah_exp.reporting.published import read_published
from ssah_exp.reporting.rows import Block, Row, blocks
from ssah_exp.reporting.setting_text import indented, long_lines, marked_cells, settings_text
from ssah_exp.reporting.settings import setting_columns
from ssah_exp.reporting.text import format_frame, given, heading, machine_text, prose

_PUBLISHED_METRICS = {
    "perplexity": "wikitext2_ppl",
    "asr/raw": "asr_without_system",
    "asr/raw_system": "asr_with_system",
    f"asr/{MEAN}": "asr_avg_as_printed",
    **{utility_name(task, "acc"): task for task in SIX},
    UTILITY_MEAN: "utility_avg",
}
_MEAN_NOTE = (
    "Published ASR averages are as printed. For Llama-2-7B-Chat they are the mean of three values, "
    "the third being the worst of three fixed GCG suffixes; for the other two models the mean of "
    "the two columns shown. Ours is the mean over the prompt styles shown; a column that takes an "
    "attack into the mean says so."
)


def render_pruning(records: Sequence[RunRecord], form: str) -> str:
    """Render every setting among ``records``.

    Args:
        records: Records of this artefact.
        form: ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    settings = blocks(records)
    if form in ("csv", "json"):
        return machine_text(with_comparison(long_frame(settings), settings), form)
    parts = settings_text(settings, caption_of, wide_frame, form)
    title = "Published (other models; 100 prompts, 256 new tokens, WikiText-2 at 4096):"
    parts += [prose(title, form), format_frame(published_frame(), form), prose(_MEAN_NOTE, form)]
    return "\n\n".join(parts)


def long_frame(settings: Sequence[Block]) -> pd.DataFrame:
    """One line per value, ours and published, for machines.

    Columns: origin, model, data, scu_budget, seeds, runs, arm, fill, control, units_pct,
    params_pct, metric, value, low, high, spread, n, repeats, method, fewer_than_paper. Rates are
    shares from 0 to 1, the spread of perplexity is a factor.
    """
    lines = long_lines(settings, _origin)
    for item in read_published("table1_pruning").to_dict("records"):
        for metric, column in _PUBLISHED_METRICS.items():
            scale = 1 if metric == PERPLEXITY else 100
            lines.append(
                {
                    "origin": "published",
                    "model": item["model"],
                    "arm": item["group"],
                    "units_pct": item["share_of_units_pct"],
                    "metric": metric,
                    "value": item[column] / scale,
                }
            )
    return pd.DataFrame(lines)


def _origin(row: Row, block: Block) -> dict[str, Any]:
    return {
        "origin": "measured",
        **setting_columns(block.records),
        "arm": row.label,
        "fill": row.fill,
        "control": row.control,
        "units_pct": 100 * row.unit_share,
        "params_pct": 100 * row.parameter_share,
    }


def wide_frame(block: Block) -> pd.DataFrame:
    """One line per arm, for people. Rates in percent."""
    return pd.DataFrame([_wide_line(row, block) for row in block.rows])


def _wide_line(row: Row, block: Block) -> dict[str, str]:
    about = {
        "ablated": indented(row),
        "replaced by": row.fill or "-",
        "units %": "-" if row.unit_class is None else f"{100 * row.unit_share:.2f}",
        "params %": "-" if row.unit_class is None else f"{100 * row.parameter_share:.2f}",
    }
    return about | marked_cells(row, block)


def published_frame() -> pd.DataFrame:
    """The paper's rows in the same columns, gaps left as gaps."""
    table = read_published("table1_pruning")
    lines = [
        {
            "model": item["model"],
            "ablated": item["group"],
            "units %": given(item["share_of_units_pct"]),
            "perplexity": given(item["wikitext2_ppl"]),
            "ASR %, raw text": given(item["asr_without_system"]),
            "ASR %, raw text + system prompt": given(item["asr_with_system"]),
            "ASR %, average as printed": given(item["asr_avg_as_printed"]),
            **{heading(utility_name(task, "acc")): given(item[task]) for task in SIX},
            heading(UTILITY_MEAN): given(item["utility_avg"]),
        }
        for item in table.to_dict("records")
    ]
    return pd.DataFrame(lines)


def _scored_by(units: dict[str, Any]) -> str:
    kind = class_of(units.get("scoring"))
    if kind:
        return f"units scored by {kind}"
    return f"statistic {units['statistic']}{' unweighted' if units.get('unweighted') else ''}"


def caption_of(block: Block) -> str:
    """What was run: model, data, sizes, seeds, and what the intervals are."""
    config = block.records[0].config
    controls = config["ablation"]["controls"]
    drawn = controls_note(controls["draws"], controls.get("exclude", ()))
    return (
        f"{config['model']['name']}, data {config['data']['name']}: "
        f"{prompts_clause(block.records[0])}, {_scored_by(config['units'])}, "
        f"{budgets_clause(config)}, {seeds_text(block.records)}; "
        f"{intervals_note(block, 'perplexity')}; {drawn}{closing_notes(block)}"
    )
