"""Table 1: every arm with its intervals, controls as mean and spread, the paper's rows below."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ssah_exp.evaluation.metrics import PERPLEXITY
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.published import read_published
from ssah_exp.reporting.rows import Block, Cell, Row, blocks

_PUBLISHED_METRICS = {
    "perplexity": "wikitext2_ppl",
    "asr/raw": "asr_without_system",
    "asr/raw_system": "asr_with_system",
    "asr/mean": "asr_avg_as_printed",
}
_STYLES = {
    "raw": "raw text",
    "raw_system": "raw text + system prompt",
    "chat": "chat",
    "chat_system": "chat + system prompt",
    "mean": "mean of the styles",
}
_NAMES = {
    "asr": "ASR",
    "benign_refusal": "benign refused",
    "borderline_refusal": "borderline refused",
}
_LATEX = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "%_&#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"\(\pm\)",
    }
)
_MEAN_NOTE = (
    "Published ASR averages are as printed. For Llama-2-7B-Chat they are the mean of three values, "
    "the third being the worst of three fixed GCG suffixes; for the other two models the mean of "
    "the two columns shown. Ours is the mean over the prompt styles shown."
)


def render(records: Sequence[RunRecord], form: str) -> str:
    """Render every setting among ``records``.

    Args:
        records: Of this artefact.
        form: ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    settings = blocks(records)
    if form in ("csv", "json"):
        frame = long_frame(settings)
        if form == "csv":
            return frame.to_csv(index=False).rstrip("\n")
        # NaN and infinity are no JSON; to_json writes them as null.
        return json.dumps(json.loads(frame.to_json(orient="records")), indent=1)
    parts: list[str] = []
    for block in settings:
        caption, frame = _caption(block), wide_frame(block)
        parts += [_prose(caption, form), "", _format(frame, form), ""]
    heading = "Published (other models; 100 prompts, 256 new tokens, WikiText-2 at 4096):"
    parts += [_prose(heading, form), ""]
    parts += [_format(published_frame(), form), "", _prose(_MEAN_NOTE, form)]
    return "\n".join(parts)


def long_frame(settings: Sequence[Block]) -> pd.DataFrame:
    """One line per value, ours and published, for machines.

    Columns: origin, model, data, scu_budget, arm, fill, control, units_pct, params_pct, metric,
    value, low, high, spread, n, repeats, method. Rates are shares from 0 to 1.
    """
    lines: list[dict[str, Any]] = []
    for block in settings:
        config = block.records[0].config
        for row in block.rows:
            for metric, cell in row.cells.items():
                lines.append(
                    {
                        "origin": "measured",
                        "model": config["model"]["name"],
                        "data": config["data"]["name"],
                        "scu_budget": config["units"]["budgets"]["scu"],
                        "arm": row.label,
                        "fill": row.fill,
                        "control": row.control,
                        "units_pct": 100 * row.unit_share,
                        "params_pct": 100 * row.parameter_share,
                        "metric": metric,
                        **cell.__dict__,
                    }
                )
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


def wide_frame(block: Block) -> pd.DataFrame:
    """One line per arm, for people. Rates in percent."""
    return pd.DataFrame([_wide_line(row, block.metrics) for row in block.rows])


def _wide_line(row: Row, metrics: Sequence[str]) -> dict[str, str]:
    line = {
        "ablated": row.label if row.control is None else f"  {row.control} like {row.label}",
        "replaced by": row.fill or "-",
        "units %": "-" if row.unit_class is None else f"{100 * row.unit_share:.2f}",
        "params %": "-" if row.unit_class is None else f"{100 * row.parameter_share:.2f}",
    }
    for metric in metrics:
        line[_heading(metric)] = _text(row.cells[metric], metric)
    return line


def published_frame() -> pd.DataFrame:
    """The paper's rows in the same columns, gaps left as gaps."""
    table = read_published("table1_pruning")
    lines = [
        {
            "model": item["model"],
            "ablated": item["group"],
            "units %": _given(item["share_of_units_pct"]),
            "perplexity": _given(item["wikitext2_ppl"]),
            "ASR %, raw text": _given(item["asr_without_system"]),
            "ASR %, raw text + system prompt": _given(item["asr_with_system"]),
            "ASR %, average as printed": _given(item["asr_avg_as_printed"]),
            "utility average": _given(item["utility_avg"]),
        }
        for item in table.to_dict("records")
    ]
    return pd.DataFrame(lines)


def _given(value: float) -> str:
    """A published value as printed; one that was not published is a gap."""
    return "" if pd.isna(value) else f"{value:g}"


def _heading(metric: str) -> str:
    if metric == PERPLEXITY:
        return "perplexity"
    name, style, _ = metric.split("/")
    return f"{_NAMES[name]} %, {_STYLES[style]}"


def _text(cell: Cell, metric: str) -> str:
    """``value [low, high]``, or ``mean +- sd [min, max]`` over control draws."""
    if cell.value is None:
        return ""
    scale = 1.0 if metric == PERPLEXITY else 100.0
    text = _number(cell.value * scale)
    if cell.spread is not None:
        text += f" ± {_number(cell.spread * scale)}"
    if cell.low is not None and cell.high is not None:
        text += f" [{_number(cell.low * scale)}, {_number(cell.high * scale)}]"
    return text


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "inf"
    if abs(value) >= 10000:
        return f"{value:.1e}"
    return f"{value:.1f}"


def _caption(block: Block) -> str:
    first = block.records[0]
    config = first.config
    budgets, evaluation = config["units"]["budgets"], config["evaluation"]
    seeds = ", ".join(str(record.seed) for record in block.records)
    draws = config["ablation"]["controls"]["draws"]
    repeats = (
        "intervals: Wilson over prompts, bootstrap over text windows"
        if len(block.records) == 1
        else "intervals: rates the wider of t over seeds and Wilson over prompts, perplexity t"
    )
    return (
        f"{config['model']['name']}, data {config['data']['name']}: n = "
        f"{first.data['harmful_eval']} harmful, {first.data['benign_eval']} benign and "
        f"{first.data['borderline_eval']} borderline prompts, "
        f"{evaluation['max_new_tokens']} new tokens, judge {evaluation['primary_judge']}, "
        f"statistic {config['units']['statistic']}, budgets SCU {budgets['scu']:g} "
        f"UCU {budgets['ucu']:g} RU {budgets['ru']:g} of {budgets['unit']}, seeds {seeds}; "
        f"{repeats}; controls: mean ± sd [range] over {draws} draws a seed."
    )


def _format(frame: pd.DataFrame, form: str) -> str:
    if form == "markdown":
        return frame.to_markdown(index=False, disable_numparse=True)
    escaped = frame.map(_latex).rename(columns=_latex)
    return escaped.style.hide(axis="index").format(escape=None).to_latex(hrules=True)


def _prose(text: str, form: str) -> str:
    return _latex(text) if form == "latex" else text


def _latex(text: str) -> str:
    """Escape what LaTeX would read as a command; a bare % hides the rest of its line."""
    return str(text).translate(_LATEX)
