"""What csv and json say of trainings: one line per value."""

from __future__ import annotations

import io
import json
import math

import pandas as pd
import pytest

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.reporting.rows import blocks
from ssah_exp.reporting.training_table import render_training
from tests.records.synthetic import (
    training_record,
)
from tests.reporting.trainings import (
    ASR,
    HEADINGS,
    MODEL,
    frame_of,
    measured,
    table,
    with_metric,
)

COLUMNS = [
    "origin",
    "model",
    "data",
    "start",
    "trained_on",
    "seeds",
    "runs",
    "arm",
    "policy",
    "control",
    "units_pct",
    "params_pct",
    "metric",
    "value",
    "low",
    "high",
    "spread",
    "n",
    "repeats",
    "method",
    "fewer_than_paper",
    "published_model",
    "published",
    "difference",
    "differs_in",
]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_one_line_per_value(form: str) -> None:
    frame = frame_of([training_record()], form)
    (block,) = blocks([training_record()])
    assert list(frame.columns) == COLUMNS
    frame = frame[frame["origin"] == "measured"]
    assert len(frame) == 5 * len(block.metrics)
    assert set(frame["start"]) == {"aligned"}
    assert set(frame["trained_on"]) == {"finetune"}
    arm = frame[(frame["arm"] == "setting_i") & frame["control"].isna()].set_index("metric")
    assert arm.loc[ASR, "value"] == pytest.approx(0.3), "a share, not percent"
    assert arm.loc[ASR, "low"] < 0.3 < arm.loc[ASR, "high"]
    assert arm.loc["trained_share", "value"] == pytest.approx(0.4)
    assert arm.loc["train_loss", "value"] == pytest.approx(1.3)
    assert arm.loc["train_loss", "n"] == 64
    assert set(arm["policy"]) == {"freeze"}
    assert (set(arm["units_pct"]), set(arm["params_pct"])) == ({2.0}, {1.0}), "percent"
    assert (set(frame["model"]), set(frame["data"])) == ({MODEL}, {"bundled"})
    control = frame[(frame["control"] == "random") & (frame["metric"] == ASR)].iloc[0]
    assert control["spread"] == pytest.approx(0.1)
    assert (control["repeats"], control["method"]) == (3, "range over draws")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_what_callbacks_watched(form: str) -> None:
    name, number = "watched/losses/range", Estimate(1.5, None, None, 20, "batches", "watched")
    made = training_record(arms=with_metric("setting_i", name, number))
    cell = measured(made, form, "setting_i", name).iloc[0]
    assert (cell["value"], cell["n"], cell["method"]) == (1.5, 20, "watched")
    assert list(table(render_training([made], "markdown"))["setting_i"]) == HEADINGS, "no column"


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_what_the_paper_lacks_in_the_same_columns(form: str) -> None:
    frame = frame_of([training_record(artefact="scu_only")], form)
    assert list(frame.columns) == COLUMNS
    assert set(frame["origin"]) == {"measured"}


@pytest.mark.parametrize("artefact", ["table4_alignment_budget", "frozen_share"])
def test_counts_stay_whole_numbers_beside_lines_that_have_none(artefact: str) -> None:
    made = [training_record(artefact=artefact)]
    lines = json.loads(render_training(made, "json"))
    counts = [line[name] for line in lines for name in ("n", "repeats")]
    assert {type(count) for count in counts if count is not None} == {int}
    text = pd.read_csv(io.StringIO(render_training(made, "csv")), dtype=str)
    assert text[["n", "repeats"]].stack().dropna().str.isdecimal().all()


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_gaps_and_infinities(form: str) -> None:
    endless = Estimate(math.inf, 3.0, math.inf, 3, "windows", "bootstrap")
    made = training_record(arms=with_metric("full", "perplexity", endless))
    cell = measured(made, form, "full", "perplexity").iloc[0]
    assert cell["low"] == 3
    assert math.isinf(float(cell["value"])), "not a gap: JSON says it as text"
    gap = measured(made, form, "unaligned", "train_loss").iloc[0]
    assert gap[["value", "low", "high"]].isna().all()
    assert pd.isna(measured(made, form, "unaligned", ASR).iloc[0]["policy"])
