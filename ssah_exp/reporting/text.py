"""How numbers, headings and tables are written, the same in every table."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ssah_exp.config.utility import TASK_METRICS
from ssah_exp.errors import CONTROLS, printable
from ssah_exp.evaluation.attack_metrics import CONTINUATION
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.judges.label_file import as_cell
from ssah_exp.evaluation.metric_names import EPOCHS, MEAN, PERPLEXITY, TRAIN_LOSS, TRAINED_SHARE
from ssah_exp.evaluation.mt_bench.names import MT_MEAN, TURN_NAMES
from ssah_exp.evaluation.shares import is_share
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN, utility_name
from ssah_exp.reporting.fitted import fitted, fitted_prose, terminal_width
from ssah_exp.reporting.rows import Cell

_PLAIN = {
    PERPLEXITY: "perplexity",
    TRAIN_LOSS: "training loss",
    EPOCHS: "epochs",
    TRAINED_SHARE: "weights free %",
    **{name: f"MT-bench, turn {turn}" for turn, name in enumerate(TURN_NAMES, start=1)},
    MT_MEAN: "MT-bench",
}
_STYLES = {
    "raw": "raw text",
    "raw_system": "raw text + system prompt",
    "chat": "chat",
    "chat_system": "chat + system prompt",
    MEAN: "mean of the styles",
}
_NAMES = {
    "asr": "ASR",
    "benign_refusal": "benign refused",
    "borderline_refusal": "borderline refused",
    "empty": "empty answers",
    "harmful_looping": "looping answers",
    "benign_looping": "benign looping",
    "borderline_looping": "borderline looping",
}
# Tasks of lm-evaluation-harness, headed "WinoGrande %" or "HellaSwag %, normalised".
_TASKS = {
    "winogrande": "WinoGrande",
    "openbookqa": "OpenBookQA",
    "arc_challenge": "ARC-C",
    "boolq": "BoolQ",
    "hellaswag": "HellaSwag",
    "rte": "RTE",
    "arc_easy": "ARC-E",
    "piqa": "PIQA",
    "gsm8k": "GSM8K",
    "mmlu": "MMLU",
}
_NORMALISED = {"acc_norm": ", normalised", "exact_match_flexible": ", last number"}
TASK_HEADINGS = {UTILITY_MEAN: "utility average"} | {
    utility_name(task, metric): f"{_TASKS[task]} %{_NORMALISED.get(metric, '')}"
    for task, metrics in TASK_METRICS.items()
    for metric in metrics
}
# What opens HTML in Markdown; "< 0.0001" does not.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LATEX = str.maketrans(
    {
        **CONTROLS,
        **{mark: f"\\{mark}" for mark in "%_&#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"\(\pm\)",
        "×": r"\(\times\)",
        "÷": r"\(\div\)",
        "†": r"\(\dagger\)",
        **{mark: rf"\({mark}\)" for mark in "<>|"},
    }
)


def scale_of(metric: str) -> float:
    """What a value is multiplied by to be shown: shares are shown in percent."""
    return 100.0 if is_share(metric) else 1.0


def given(value: float) -> str:
    """A published value as printed; one that was not published is a gap."""
    return "" if pd.isna(value) else f"{value:g}"


def heading(metric: str) -> str:
    """Column heading of a metric.

    Raises:
        KeyError: No heading is known for it.
        ValueError: The same, of a name without a style.
    """
    if metric in _PLAIN:
        return _PLAIN[metric]
    if metric in TASK_HEADINGS:
        return TASK_HEADINGS[metric]
    name, style, *_ = metric.split("/")
    if name == "score":
        return f"judge's score, {style_text(style)}"
    if name.startswith("score"):
        return f"score {name.removeprefix('score')} %, {style_text(style)}"
    return f"{_NAMES[name]} %, {style_text(style)}"


def style_text(style: str) -> str:
    """A prompt style in words, with the attack if there is one; KeyError if it is unknown."""
    plain, attacked, attack = style.partition("+")
    if not attacked:
        return _STYLES[style]
    if plain == MEAN:
        return f"mean of the styles and of {attack}"
    bare = attack.removesuffix(CONTINUATION)
    apart = " (without the given beginning)" if bare != attack else ""
    return f"{_STYLES[plain]} + {bare}{apart}"


def heading_or_name(metric: str) -> str:
    """:func:`heading`, or the metric's own name where no heading was given to it."""
    try:
        return heading(metric)
    except (KeyError, ValueError):
        return metric


def estimate_text(estimate: Estimate, metric: str) -> str:
    """``value [low, high]`` of one run; a gap stays empty."""
    write = partial(value_text, metric=metric)
    return bracketed(estimate.value, estimate.low, estimate.high, write)


def cell_text(cell: Cell, metric: str) -> str:
    """``value [low, high]``, or ``mean ± sd [min, max]`` over control draws.

    For perplexity, ``geometric mean ×/÷ geometric sd [min, max]``.
    """
    write, spread = partial(value_text, metric=metric), ""
    if cell.spread is not None:
        geometric = metric == PERPLEXITY
        spread = f" ×/÷ {cell.spread:.2f}" if geometric else f" ± {write(cell.spread)}"
    return bracketed(cell.value, cell.low, cell.high, write, spread)


def rounded_text(estimate: Estimate, scale: float = 1, digits: int = 2) -> str:
    """``value [low, high]``, times ``scale``, with ``digits`` decimals; a gap stays empty."""
    scaled = estimate.mapped(lambda end: scale * end)
    return interval_text(scaled.value, scaled.low, scaled.high, digits)


def percent_text(estimate: Estimate) -> str:
    """A share in percent with its interval, to one decimal; a gap stays empty."""
    return rounded_text(estimate, 100, 1)


def interval_text(value: float | None, low: float | None, high: float | None, digits: int) -> str:
    """:func:`bracketed` with ``digits`` decimals; a frame's NaN is a gap, too."""
    write = f"{{:.{digits}f}}".format
    return "" if pd.isna(value) else bracketed(value, low, high, write)


def bracketed(
    value: float | None,
    low: float | None,
    high: float | None,
    write: Callable[[float], str],
    spread: str = "",
) -> str:
    """``value [low, high]``, each written by ``write``, with ``spread`` right after the value.

    Without a value it is empty; without an interval the value stands alone.
    """
    if value is None:
        return ""
    text = f"{write(value)}{spread}"
    return text if low is None or high is None else f"{text} [{write(low)}, {write(high)}]"


def value_text(value: float, metric: str) -> str:
    """One value, shares in percent, with the digits of its metric."""
    return _writer(metric)(value * scale_of(metric))


def _writer(metric: str) -> Callable[[float], str]:
    if metric in _WRITERS:
        return _WRITERS[metric]
    coarse = is_share(metric) or metric in _COARSE or metric.startswith("score/")
    return number if coarse else "{:.3g}".format  # of unknown size, like watched numbers


def p_text(p: float | None) -> str:
    """A p-value to two significant digits, or ``< 0.0001``; a gap is empty."""
    if p is None:
        return ""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def number(value: float) -> str:
    """One decimal; from 10,000 on in scientific notation."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 10000:
        return f"{value:.1e}"
    return f"{value:.1f}"


def _loss(value: float) -> str:
    """Losses differ in the third decimal."""
    return f"{value:.3f}"


def _trained_share(percent: float) -> str:
    """An adapter trains a few weights in ten thousand, which must not read as none."""
    return f"{percent:.2g}" if 0 < percent < 1 else number(percent)


_COARSE = (PERPLEXITY, EPOCHS, MT_MEAN, *TURN_NAMES)
_WRITERS: dict[str, Callable[[float], str]] = {TRAIN_LOSS: _loss, TRAINED_SHARE: _trained_share}


def span(values: Iterable[float], form: str) -> str:
    """The smallest and the largest, ``1.2 to 3.4``, or one number where they are written alike."""
    ends = sorted(values)
    return " to ".join(dict.fromkeys(f"{end:{form}}" for end in (ends[0], ends[-1])))


def machine_text(frame: pd.DataFrame, form: str) -> str:
    """A frame as ``csv`` or ``json``. A gap is empty or null; JSON has no infinity: ``"inf"``.

    In csv, texts that a spreadsheet would compute have an apostrophe before them; ``as_text`` of
    :mod:`ssah_exp.evaluation.judges.label_file` takes it off.
    """
    if form == "csv":
        return printable(inert(frame).to_csv(index=False).rstrip("\n"))
    return json.dumps(plain_rows(frame), indent=1, allow_nan=False)


def inert(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame in whose texts no spreadsheet finds a formula; names may be other people's."""
    return frame.map(_inert).rename(columns=_inert)


def _inert(cell: Any) -> Any:
    return as_cell(printable(cell)) if isinstance(cell, str) and len(cell) > 1 else cell


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; a gap is None, infinity ``"inf"``."""
    return [
        {str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def format_frame(frame: pd.DataFrame, form: str) -> str:
    """A frame as ``text``, which fits the terminal, ``markdown`` or ``latex``."""
    if form == "text":
        return fitted(frame, terminal_width())
    if form == "markdown":
        shown = frame.map(_shown).rename(columns=_shown)  # before widths are measured
        return shown.to_markdown(index=False, disable_numparse=True)
    escaped = frame.map(latex).rename(columns=latex)
    return escaped.style.hide(axis="index").format(escape=None).to_latex(hrules=True)


def _shown(cell: Any) -> Any:
    return markdown_cell(cell) if isinstance(cell, str) else cell


def markdown_cell(text: str) -> str:
    """A text in a table of Markdown: without tags, as in :func:`prose`, and in one column."""
    return _markdown(text).replace("|", r"\|")


def prose(text: str, form: str) -> str:
    """A sentence, escaped or folded where the format needs it; names may be other people's."""
    if form == "text":
        return fitted_prose(text, terminal_width())
    return latex(text) if form == "latex" else _markdown(text)


def _markdown(text: str) -> str:
    return _TAG.sub("&lt;", printable(text))


def latex(text: str) -> str:
    """Escape what LaTeX would read as a command; a bare % hides the rest of its line."""
    return str(text).translate(_LATEX)
