"""What programs read: every digit of a small p, and infinity where JSON has none."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.probe.curves import Curve
from ssah_exp.evaluation.probe.names import SIDES, forms, step_name
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.figures.probe import draw_probe
from ssah_exp.reporting.probe_rows import direction, shorter
from ssah_exp.reporting.probe_table import model_frame, render_probe
from ssah_exp.reporting.seed_rows import Picked, seeds_frame
from ssah_exp.reporting.text import machine_text
from tests.records.synthetic import arm, record

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


WHAT = (*SIDES, "difference", "null_difference", "gap", "null_gap")
AREAS = ("auc/harmless", "auc/borderline", "auc/shuffled")


def height(model: str, name: str) -> int:
    """A number that no other curve of the run has."""
    names = [step_name(*at) for at in product(forms(["cosine", "l2"]), (2, 4), WHAT)]
    return 100 * (model == "aligned") + [*names, *AREAS].index(name) + 1


def curve(value: float) -> Curve:
    """At the embedding a gap, then the value and one more."""
    ends = [[None, value + end, value + 1 + end] for end in (0.0, -0.25, 0.5)]
    return Curve(*ends, 9, "requests", "bootstrap", [None, 0.5, None])  # type: ignore[arg-type]


def probed(seed: int, data: str, **changes: Any) -> RunRecord:
    made = record(seed, artefact="probe", **changes)
    made.config["data"]["name"] = data
    read = {"distances": ["cosine", "l2"], "steps": [2, 4], "smoothing": 3, "shuffles": 5}
    made.config["probe"] = read
    names = [step_name(*at) for at in product(forms(["cosine", "l2"]), (2, 4), WHAT)]
    arms = [
        arm(model, 0.1, curves={name: curve(height(model, name)) for name in (*names, *AREAS)})
        for model in ("unaligned", "aligned")
    ]
    return replace(made, arms=arms)


def test_every_line_of_the_probe_is_of_the_run_that_it_names() -> None:
    """Two runs whose curves are alike: only these columns tell their lines apart."""
    old = probed(0, "one", run_id="old", finished="2025-01-01T00:00:00+00:00")
    runs = [probed(0, "one"), probed(1, "one"), probed(0, "two", run_id="other"), old]
    table = pd.read_csv(io.StringIO(render_probe(runs, "csv")), dtype={"run_id": str})
    model = runs[0].config["model"]["name"]
    found = set(table[["run_id", "model", "data", "seed"]].itertuples(index=False, name=None))
    assert found == {(run.run_id, model, run.config["data"]["name"], run.seed) for run in runs[:3]}
    lines = table[(table["run_id"] == "other") & (table["arm"] == "aligned")]
    line = lines[lines["curve"] == "l2/raw/k4/null_gap"]
    value = height("aligned", "l2/raw/k4/null_gap")
    assert line["block"].tolist() == [1, 2], "a gap has no line, and the others keep their block"
    assert line["value"].tolist() == [value, value + 1]
    assert line["low"].tolist() == [value - 0.25, value + 0.75]
    assert line["high"].tolist() == [value + 0.5, value + 1.5]
    assert line["p_holm"].isna().tolist() == [False, True]
    assert set(line["n"]) == {9}


def test_areas_that_are_gaps_at_every_block_are_left_empty(tmp_path: Path) -> None:
    """Of requests of one kind alone."""
    made = probed(0, "one")
    gaps = Curve([None] * 3, [None] * 3, [None] * 3, 9, "requests", "none: a class is empty")
    arms = [replace(item, curves={**item.curves, AREAS[0]: gaps}) for item in made.arms]
    cells = model_frame(replace(made, arms=arms))["AUC, harmless: mean [range] over blocks"]
    assert cells.tolist() == ["", ""]
    bare = [
        replace(item, curves={**item.curves, **dict.fromkeys(AREAS, gaps)}) for item in made.arms
    ]
    *_, (areas, _) = draw_probe([replace(made, arms=bare)], tmp_path / "a.svg")
    text = areas.with_suffix(".csv").read_text()
    assert text == "arm,curve,block,value,low,high,n\n"


def test_beside_each_picture_of_the_probe_are_the_numbers_that_it_draws(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    wrote = draw_probe([probed(0, "one")], tmp_path / "a.svg")
    cosine, steps, gaps = ("cosine/raw", "cosine/content_free"), (2, 4), ("gap", "null_gap")
    wanted = {
        "a": [step_name(*at) for at in product(cosine, steps, SIDES)],
        "a-gap": [step_name(*at) for at in product(cosine, steps, gaps)],
        "a-l2": [step_name(*at) for at in product(["l2/raw"], steps, SIDES)],
        "a-l2-gap": [step_name(*at) for at in product(["l2/raw"], steps, gaps)],
        "a-auc": AREAS,
    }
    assert [path.stem for path, _ in wrote] == list(wanted)
    for (stem, names), figure in zip(wanted.items(), drawn, strict=True):
        table = pd.read_csv(tmp_path / f"{stem}.csv")
        first = table[table["block"] == 1].set_index(["arm", "curve"])["value"].to_dict()
        models = ("unaligned", "aligned")
        assert first == {(model, name): height(model, name) for model in models for name in names}
        lines = [float(line.get_ydata()[1]) for axes in figure.axes for line in axes.lines]
        if stem == "a-auc":  # of shuffled labels, the last model's alone
            del first["unaligned", "auc/shuffled"]
        assert sorted(lines) == sorted(first.values())


def test_the_twins_of_the_probe_are_dashed_and_the_openings_have_the_band(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    draw_probe([probed(0, "one")], tmp_path / "a.svg")
    panel = drawn[0].axes[1]  # of the first row, which is the unaligned model: four tokens
    assert [axes.get_title() for axes in drawn[0].axes[:2]] == ["2 tokens", "4 tokens"]
    found = {
        line.get_label(): (float(line.get_ydata()[1]), line.is_dashed()) for line in panel.lines
    }
    at = {side: height("unaligned", f"cosine/raw/k4/{side}") for side in SIDES}
    assert found == {
        "+ benign opening": (at["benign"], False),
        "+ malicious opening": (at["malicious"], False),
        "random twins of benign": (at["null_benign"], True),
        "random twins of malicious": (at["null_malicious"], True),
    }
    assert len(panel.collections) == 2
    gaps = {
        line.get_label(): (float(line.get_ydata()[1]), line.is_dashed())
        for line in drawn[1].axes[1].lines
    }
    assert gaps == {
        label: (height(model, f"cosine/raw/k4/{what}"), what == "null_gap")
        for model in ("unaligned", "aligned")
        for label, what in ((model, "gap"), (f"{model}, random twins", "null_gap"))
    }


def test_blocks_count_for_the_shorter_distance_only_where_the_test_says_so() -> None:
    """Benign less malicious: below 0 the benign one is shorter; the embedding is no block."""
    value = [-9.0, -1.0, -1.0, 2.0, 3.0, None]
    p = [0.0, 0.01, 0.2, 0.05, 0.06, None]
    tested = Curve(value, value, value, 9, "requests", "t", p)
    found = shorter(tested, 0.05)
    assert (found.benign, found.malicious, found.blocks) == (1, 1, 5)
    untested = shorter(replace(tested, p=None), 0.05)
    assert (untested.benign, untested.malicious, untested.blocks) == (0, 0, 5)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-2.0, -1.0, "benign"),
        (1.0, 2.0, "malicious"),
        (-1.0, 1.0, "neither"),
        (-1.0, 0.0, "neither"),
        (0.0, 1.0, "neither"),
        (None, None, ""),
    ],
)
def test_a_distance_is_the_shorter_one_where_the_interval_leaves_0_out(
    low: float | None, high: float | None, said: str
) -> None:
    assert direction(Estimate(0.0, low, high, 9, "requests", "bootstrap")) == said
