"""The study made again: its committed columns are those of the committed records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.evaluation.metric_names import PERPLEXITY, asr_name, refusal_name
from ssah_exp.records.store import read_folder

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
METRICS = {
    "asr_raw": asr_name("raw", "zou2023"),
    "plain_refused": refusal_name("benign", "chat", "zou2023"),
    "perplexity": PERPLEXITY,
}


def test_what_was_made_again_is_held_against_the_committed_records() -> None:
    frame = pd.read_csv(EXPERIMENTS / "paper_smollm2" / "again.csv")
    arms = {
        (record.run_id, arm.name): arm for record in read_folder(EXPERIMENTS) for arm in record.arms
    }
    assert len(frame) > 280
    for row in frame.to_dict("records"):
        arm = arms[row["committed"], row["arm"]]
        for column, metric in METRICS.items():
            assert row[column] == pytest.approx(arm.metrics[metric].value, rel=1e-5, abs=1e-9)
