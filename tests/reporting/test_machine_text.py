"""What programs read: every digit of a small p, and infinity where JSON has none."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.probe_table import render_probe
from ssah_exp.reporting.seed_rows import Picked, seeds_frame
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


@pytest.mark.parametrize("begun", ["=", "+", "-", "@", " ="])
def test_a_csv_holds_no_formula_and_its_numbers_are_numbers(begun: str) -> None:
    """A spreadsheet would compute it: open an address, start a program."""
    frame = pd.DataFrame({"name": [f"{begun}cmd()", "-"], "value": [-1.5, -math.inf]})
    text = machine_text(frame, "csv")
    assert text == f"name,value\n'{begun}cmd(),-1.5\n-,-inf"
    assert json.loads(machine_text(frame, "json"))[0]["name"] == f"{begun}cmd()"


def test_names_with_an_apostrophe_before_them_are_read_back(tmp_path: Path) -> None:
    names = ["-late", "=early", "plain"]
    frame = pd.DataFrame({"setting": names, "measure": "spearman", "mean": [0.1, 0.2, 0.3]})
    (tmp_path / "0.csv").write_text(machine_text(frame, "csv"), encoding="utf-8")
    read = seeds_frame({0: tmp_path / "0.csv"}, Picked("spearman"), {})
    assert list(read.columns) == ["seed", *names]
