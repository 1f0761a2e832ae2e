"""What programs read: every digit of a small p, and infinity where JSON has none."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.probe_table import render_probe
from ssah_exp.reporting.text import machine_text

PROBED = Path(__file__).parents[2] / "experiments" / "fig2_fig3_fig4_fig7_probe" / "records"


def test_json_has_the_digits_of_the_csv() -> None:
    frame = pd.DataFrame({"p": [1.1e-11, 5e-324, math.nan, math.inf], "name": list("abcd")})
    rows = json.loads(machine_text(frame, "json"))
    assert [row["p"] for row in rows] == [1.1e-11, 5e-324, None, "inf"]


def test_no_p_of_the_probe_becomes_zero() -> None:
    path = min(PROBED.glob("*.json"))
    records = [RunRecord.from_json(path.read_text(encoding="utf-8"))]
    table = pd.read_csv(io.StringIO(render_probe(records, "csv")))
    rows = pd.DataFrame(json.loads(render_probe(records, "json")))
    assert (table["p_holm"].dropna() < 1e-10).any(), "some are small enough to show it"
    assert (rows["p_holm"].dropna().astype(float) > 0).all()
    assert rows["p_holm"].notna().sum() == table["p_holm"].notna().sum()
