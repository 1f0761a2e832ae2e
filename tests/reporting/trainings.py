"""Records of trainings that tests of their table share."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pandas as pd

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.training_table import render_training
from tests.records.synthetic import TRAINING_JUDGE, trained_arms, training_record

ASR = f"asr/raw/{TRAINING_JUDGE}"
MODEL = "SmolLM2-135M-Instruct (Q4_1)"

HEADINGS = [
    "arm",
    "policy",
    "units %",
    "params %",
    "weights free %",
    "epochs",
    "training loss",
    "perplexity",
    "ASR %, raw text",
    "ASR %, raw text + system prompt",
    "ASR %, mean of the styles",
    "benign refused %, chat",
    "borderline refused %, chat",
]
SHIFTS = (0.0, 0.02, -0.05)
GAP = Estimate(None, None, None, 0, "prompts", "Wilson 95%")


def with_metric(name: str, key: str, value: Estimate | None) -> list[ArmRecord]:
    """The arms, one metric of one of them replaced, or taken away."""
    made = trained_arms()
    (at,) = [at for at, arm in enumerate(made) if arm.name == name]
    kept = {other: item for other, item in made[at].metrics.items() if other != key}
    made[at] = replace(made[at], metrics=kept if value is None else {**kept, key: value})
    return made


def seeds() -> list[RunRecord]:
    return [training_record(at, arms=trained_arms(shift)) for at, shift in enumerate(SHIFTS)]


def table(text: str) -> dict[str, dict[str, str]]:
    """Cells of the first markdown table, by arm and heading."""
    lines = [line for line in text.partition("Published")[0].splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def strict(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


def frame_of(made: list[RunRecord], form: str) -> pd.DataFrame:
    text = render_training(made, form)
    if form == "csv":
        return pd.read_csv(io.StringIO(text))
    return pd.DataFrame(json.loads(text, parse_constant=strict))


def measured(made: RunRecord, form: str, arm: str, metric: str) -> pd.DataFrame:
    frame = frame_of([made], form)
    frame = frame[frame["origin"] == "measured"]
    return frame[(frame["arm"] == arm) & (frame["metric"] == metric)]
