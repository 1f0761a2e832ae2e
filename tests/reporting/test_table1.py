"""Table 1 in every format, from records made by hand."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.records.record import ArmRecord
from ssah_exp.reporting import table1
from ssah_exp.reporting.table1 import render_pruning
from ssah_exp.reporting.text import prose
from tests.records.synthetic import JUDGE, METRICS, arm, arms, metrics, record

ASR = f"asr/raw/{JUDGE}"
PUBLISHED_ROWS, PUBLISHED_DENSE = 12, 3  # dense models have no share of units
COMPARED = ("units", "perplexity", "raw", "raw_system", "mean", *["task"] * 7)
GAP = Estimate(None, None, None, 0, "prompts", "Wilson 95%")


def with_gap() -> list[ArmRecord]:
    made = arms()
    made[2] = replace(made[2], metrics={**made[2].metrics, ASR: GAP})
    return made


def markdown_row(text: str, *start: str) -> list[str]:
    """Cells of the first table row that begins with ``start``."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if tuple(cells[: len(start)]) == start:
            return cells
    raise AssertionError(f"no row {start}")


def test_markdown_shows_wilson_for_one_seed() -> None:
    text = render_pruning([record()], "markdown")
    assert markdown_row(text, "SCU")[5] == "60.0 [50.2, 69.1]"
    assert "seed 0; 95% intervals: Wilson over prompts, bootstrap over text windows;" in text


def test_markdown_gathers_three_seeds() -> None:
    shifts = (0.0, 0.02, -0.05)
    text = render_pruning(
        [record(s, arms=arms(shift)) for s, shift in enumerate(shifts)], "markdown"
    )
    assert markdown_row(text, "SCU")[5] == "59.0 [49.2, 68.1]"
    envelope = "rates the envelope of t over seeds and Wilson over prompts, perplexity t"
    one = ", where all seeds have one perplexity bootstrap over text windows;"
    assert f"seeds 0, 1, 2; 95% intervals: {envelope}{one}" in text


def test_an_interval_over_windows_is_announced_where_there_is_one() -> None:
    """A model that comes aligned has one perplexity: its interval is no t over seeds."""
    varied = [
        [replace(item, metrics=metrics(0.5, 2.0 + seed / 10)) for item in arms()]
        for seed in range(3)
    ]
    made = [record(seed, arms=items) for seed, items in enumerate(varied)]
    clause = "where all seeds have one perplexity"
    assert "perplexity t; " in render_pruning(made, "markdown")
    assert clause not in render_pruning(made, "markdown")
    for seed, items in enumerate(varied):
        made[seed] = record(seed, arms=[arms()[0], *items[1:]])
    assert f"perplexity t, {clause} bootstrap over text windows; " in render_pruning(
        made, "markdown"
    )


def test_a_note_says_how_much_of_their_class_controls_hold() -> None:
    assert "Units of a control" not in render_pruning([record()], "markdown")
    made = [
        replace(item, overlap=0.5 + (item.draw or 0) / 4) if item.control else item
        for item in arms()
    ]
    text = render_pruning([record(arms=made)], "markdown")
    note = "Units of a control that are in the set it stands beside: "
    assert f"{note}random like SCU/pooled 50 to 100 %." in text.splitlines()


def test_the_caption_says_which_classes_controls_leave_out() -> None:
    made = record()
    assert "; controls: mean" in render_pruning([made], "markdown")
    made.config["ablation"]["controls"]["exclude"] = ["SCU", "RU"]
    assert "; controls without units of SCU, RU: mean" in render_pruning([made], "markdown")


def test_markdown_shows_controls_with_mean_sd_and_range() -> None:
    row = markdown_row(render_pruning([record()], "markdown"), "random like SCU")
    assert row[5] == "20.0 ± 10.0 [10.0, 30.0]"
    assert row[4] == "8.2 ×/÷ 1.00 [8.2, 8.2] †"
    assert row[2:4] == ["1.25", "1.00"]


def test_markdown_holds_the_papers_rows_below_ours() -> None:
    text = render_pruning([record()], "markdown")
    ours, _, paper = text.partition("Published")
    assert "unaligned" in ours
    row = markdown_row(paper, "Llama-2-7B-Chat", "SCU")
    assert row[2:7] == ["1.3", "6.76", "84", "19", "66"]
    assert row[7:] == ["64", "34", "42.5", "78.5", "52", "70.5", "56.9"]
    assert paper.count("Llama-3-8B-Instruct") == 4


def test_a_gap_prints_as_an_empty_cell() -> None:
    row = markdown_row(render_pruning([record(arms=with_gap())], "markdown"), "SCU")
    assert row[5] == ""
    assert row[6] == "60.0 [50.2, 69.1]"


def test_a_mean_that_one_seed_lacks_says_how_many_it_is_of() -> None:
    text = render_pruning([record(0), record(1), record(2, arms=with_gap())], "markdown")
    row = markdown_row(text, "SCU")
    assert row[5] == "60.0 [50.2, 69.1] (2 of 3)"
    assert " of 3)" not in row[6], "the other column has all three"
    assert " of " not in markdown_row(text, "aligned")[5]


def test_a_control_that_lacks_a_draw_says_how_many_it_is_of() -> None:
    made = arms()
    at = next(at for at, item in enumerate(made) if item.control is not None)
    made[at] = replace(made[at], metrics={**made[at].metrics, ASR: GAP})
    draws = sum(item.control is not None for item in made)
    row = markdown_row(render_pruning([record(arms=made)], "markdown"), "random like SCU")
    assert row[5].endswith(f" ({draws - 1} of {draws})")
    assert " of " not in row[6]


def test_answers_without_text_have_a_column_where_any_arm_gave_one() -> None:
    given = {
        "SCU/pooled": {"empty/raw": rate(0, 100, 0.95), "empty/raw_system": rate(7, 100, 0.95)}
    }
    made = [replace(a, metrics={**a.metrics, **given.get(a.name, {})}) for a in arms()]
    text = render_pruning([record(arms=made)], "markdown")
    head = markdown_row(text, "ablated")
    assert "empty answers %, raw text" not in head, "of a style in which every arm said something"
    column = head.index("empty answers %, raw text + system prompt")
    assert markdown_row(text, "SCU")[column] == "7.0 [3.4, 13.7]"
    assert markdown_row(text, "aligned")[column] == "", "a record from before they were counted"
    assert "takes them for answered" in text
    plain = render_pruning([record()], "markdown")
    assert "empty answers" not in plain.lower()


def test_looping_answers_have_a_column_where_an_arm_gave_many() -> None:
    given = {
        "aligned": {
            "harmful_looping/raw": rate(0, 100, 0.95),
            "benign_looping/chat": rate(9, 100, 0.95),
        },
        "SCU/pooled": {
            "harmful_looping/raw": rate(45, 100, 0.95),
            "benign_looping/chat": rate(9, 100, 0.95),
        },
    }
    made = [replace(a, metrics={**a.metrics, **given.get(a.name, {})}) for a in arms()]
    text = render_pruning([record(arms=made)], "markdown")
    head = markdown_row(text, "ablated")
    column = head.index("looping answers %, raw text")
    assert markdown_row(text, "SCU")[column] == "45.0 [35.6, 54.8]"
    assert markdown_row(text, "aligned")[column].startswith("0.0 [")
    assert not any("benign looping" in name for name in head), "few do in either arm"
    assert "Looping answers: at least half" in text
    assert "looping" not in render_pruning([record()], "markdown").lower()


def test_an_infinite_perplexity_prints_as_inf() -> None:
    endless = Estimate(math.inf, 3.0, math.inf, 3, "windows", "bootstrap")
    made = arm("aligned", 0.1)
    made = replace(made, metrics={**made.metrics, "perplexity": endless})
    row = markdown_row(render_pruning([record(arms=[made])], "markdown"), "aligned")
    assert row[4] == "inf [3.0, inf] †"


def test_an_unpublished_value_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table1.read_published("table1_pruning")
    frame.loc[1, "wikitext2_ppl"] = math.nan
    monkeypatch.setattr(table1, "read_published", lambda artefact: frame)
    text = render_pruning([record()], "markdown")
    assert "nan" not in text
    assert table1.published_frame()["perplexity"][1] == ""


def parsed(form: str) -> pd.DataFrame:
    text = render_pruning([record(arms=with_gap())], form)
    if form == "csv":
        return pd.read_csv(io.StringIO(text))
    return pd.DataFrame(json.loads(text))


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_measured_and_published_rows_back(form: str) -> None:
    frame = parsed(form)
    counts = Counter(frame["origin"])
    compared = PUBLISHED_ROWS * len(COMPARED) - PUBLISHED_DENSE
    assert counts == {
        "measured": 4 * len(METRICS),
        "published": 11 * PUBLISHED_ROWS,
        "comparison": compared,
    }
    dense = frame[(frame["arm"] == "aligned") & (frame["metric"] == ASR)].iloc[0]
    assert dense["value"] == pytest.approx(0.1)
    assert dense["low"] < 0.1 < dense["high"]
    assert (dense["n"], dense["method"], dense["scu_budget"]) == (100, "Wilson 95%", 0.01)
    control = frame[(frame["control"] == "random") & (frame["metric"] == ASR)].iloc[0]
    assert control["spread"] == pytest.approx(0.1)
    assert control["repeats"] == 3


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_gaps_as_gaps(form: str) -> None:
    frame = parsed(form)
    rows = (frame["arm"] == "SCU") & (frame["metric"] == ASR) & frame["control"].isna()
    gap = frame[rows & (frame["origin"] == "measured")].iloc[0]
    assert gap[["value", "low", "high"]].isna().all()
    assert gap["n"] == 0


@pytest.mark.parametrize("form", ["csv", "json"])
def test_published_rates_are_shares_and_perplexities_are_not(form: str) -> None:
    frame = parsed(form)
    paper = frame[(frame["origin"] == "published") & (frame["model"] == "Llama-2-7B-Chat")]
    values = paper[paper["arm"] == "SCU"].set_index("metric")["value"]
    assert values["perplexity"] == pytest.approx(6.76)
    assert values["asr/raw"] == pytest.approx(0.84)
    assert values["asr/raw_system"] == pytest.approx(0.19)


def test_machines_can_tell_the_lines_of_settings_apart() -> None:
    """What they differ in may be a key that no column has, as the number of samples."""
    made = [record(0), record(1)]
    other = record(0, run_id="other")
    other.config["units"]["samples"] = 16
    frame = pd.read_csv(io.StringIO(render_pruning([*made, other], "csv")), dtype=str)
    ours = frame[frame["origin"] != "published"]
    assert set(ours["runs"]) == {f"{made[0].run_id} {made[1].run_id}", "other"}
    assert ours.groupby("runs")["seeds"].unique().map(list).tolist() == [["0 1"], ["0"]]
    itself = ["origin", "runs", "arm", "fill", "control", "metric", "published_model"]
    assert not ours.duplicated(itself).any()


def latex() -> str:
    return render_pruning([record()], "latex")


def test_latex_has_booktabs_rules_and_balanced_environments() -> None:
    text = latex()
    opened = re.findall(r"\\begin{(\w+)}", text)
    assert opened == re.findall(r"\\end{(\w+)}", text) == ["tabular"] * 3
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}\n") == 3
    assert text.count("{") == text.count("}")


def test_latex_escapes_what_would_be_a_command() -> None:
    text = latex()
    bare = re.findall(r"(?<!\\)[%_#$~^±×÷]", text)
    assert bare == []
    assert prose("p < 0.0001 | a > b", "latex") == r"p \(<\) 0.0001 \(|\) a \(>\) b"
    assert r"units \%" in text
    assert r"(Q4\_1)" in text
    assert r"20.0 \(\pm\) 10.0 [10.0, 30.0]" in text
    assert r"8.2 \(\times\)/\(\div\) 1.00 [8.2, 8.2]" in text


def test_every_latex_row_has_the_declared_number_of_columns() -> None:
    tables = re.findall(r"\\begin{tabular}(.*?)\\end{tabular}", latex(), flags=re.DOTALL)
    assert tables
    for table in tables:
        columns = len(re.match(r"{(l+)}", table).group(1))  # type: ignore[union-attr]
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert len(rows) >= 5
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}


def test_settings_that_differ_get_a_table_each() -> None:
    other = record(1)
    other.config["units"]["budgets"]["scu"] = 0.05
    text = render_pruning([record(0), other], "markdown")
    assert "SCU 0.01 " in text
    assert "SCU 0.05 " in text
    assert text.count("| unaligned ") == 2


@pytest.mark.parametrize("form", ["csv", "json"])
def test_every_setting_has_lines_of_its_own_for_machines(form: str) -> None:
    other = record(1, arms=arms(0.05))
    other.config["units"]["budgets"]["scu"] = 0.05
    other.config["data"]["name"] = "other"
    text = render_pruning([record(0), other], form)
    frame = pd.read_csv(io.StringIO(text)) if form == "csv" else pd.DataFrame(json.loads(text))
    mine = frame[(frame["origin"] == "measured") & (frame["metric"] == ASR)]
    itself = mine[(mine["arm"] == "SCU") & mine["control"].isna()]
    data = record().config["data"]["name"]
    columns = ["data", "scu_budget", "value", "units_pct", "params_pct"]
    found = itself[columns].to_numpy().tolist()
    assert found == [[data, 0.01, 0.6, 1.25, 1.0], ["other", 0.05, pytest.approx(0.65), 1.25, 1.0]]
