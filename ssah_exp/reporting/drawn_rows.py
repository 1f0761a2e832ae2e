"""Rows of numbers behind figures of ASR and perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.drawn_asr import DrawnAsr
from ssah_exp.reporting.text import scale_of

Arms = Callable[[RunRecord], Iterable[tuple[ArmRecord, dict[str, Any]]]]


def drawn_rows(records: Sequence[RunRecord], asr: DrawnAsr, arms: Arms) -> pd.DataFrame:
    """One row per metric of every arm that is drawn.

    Args:
        records: Of one artefact, at least one.
        asr: Which ASR.
        arms: Yields the arms of a record that are drawn, each with columns that say what it is.

    Returns:
        ``metric`` (``asr`` in percent, ``perplexity``), the columns of ``arms``, ``seed``,
        ``draw``, ``value``, ``low``, ``high``, ``n``.

    Raises:
        ConfigError: No record measured that ASR.
    """
    asr.check(records)
    rows = [
        _row(short, metric or asr.name(record.config["evaluation"]), record.seed, *drawn)
        for short, metric in (("asr", None), (PERPLEXITY, PERPLEXITY))
        for record in records
        for drawn in arms(record)
    ]
    return pd.DataFrame(rows).astype({"draw": "Int64", "value": "float64"})


def _row(
    short: str, metric: str, seed: int, arm: ArmRecord, columns: dict[str, Any]
) -> dict[str, Any]:
    found = arm.measured(metric).mapped(lambda end: scale_of(metric) * end)
    return {
        "metric": short,
        **columns,
        "seed": seed,
        "draw": arm.draw,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
    }
