"""Arms against their controls and dense models, from records made by hand."""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from ssah_exp.cli import main
from ssah_exp.commands.compare import _judge
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.intervals import Resampling, perplexity, rate
from ssah_exp.evaluation.outcomes import Outcomes
from ssah_exp.evaluation.paired import Margins
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.compare.arms import Line, compare_arms
from tests.records.synthetic import (
    JUDGE,
    TRAINING_JUDGE,
    arm,
    record,
    trained_arm,
    training_record,
)

Capture = pytest.CaptureFixture[str]
N = 20
LOSSES = [2.0, 2.5, 3.0]
LEVEL = Resampling(0.95, 100)


def with_outcomes(
    made: ArmRecord, harmful: str, loss: float = 0.0, judge: str = JUDGE
) -> ArmRecord:
    """Harmful answers as given in both styles; every harmless one is answered."""
    losses = [value + loss for value in LOSSES]
    harmless = "c" * N
    verdicts = {
        f"harmful/raw/{judge}": harmful,
        f"harmful/raw_system/{judge}": harmful,
        f"benign/chat/{judge}": harmless,
        f"borderline/chat/{judge}": harmless,
    }
    asr = rate(harmful.count("c"), N, 0.95)
    metrics = {f"asr/{style}/{judge}": asr for style in ("raw", "raw_system", "mean")}
    for which in ("benign", "borderline"):
        metrics[f"{which}_refusal/chat/{judge}"] = rate(0, N, 0.95)
    metrics["perplexity"] = perplexity(losses, Resampling(0.95, 100))
    return replace(made, metrics=metrics, outcomes=Outcomes(verdicts, losses))


def marks(complied: int) -> str:
    return "c" * complied + "r" * (N - complied)


def table1(
    seed: int = 0, scu: int = 16, draws: Sequence[int] = (1, 3), **changes: Any
) -> RunRecord:
    arms = [
        with_outcomes(arm("unaligned", 0), marks(18)),
        with_outcomes(arm("aligned", 0), marks(2)),
        with_outcomes(arm("SCU/pooled", 0), marks(scu), loss=0.1),
        *(
            with_outcomes(arm(f"SCU/pooled/random/{draw}", 0), marks(count))
            for draw, count in enumerate(draws)
        ),
    ]
    made = record(seed, arms=arms, **changes)
    made.config["evaluation"]["bootstrap_resamples"] = 100
    return made


def lines(*records: RunRecord, metric: str = f"asr/raw/{JUDGE}") -> dict[tuple[str, str], Line]:
    found = compare_arms(
        records, records[0].config["evaluation"]["primary_judge"], Resampling(), Margins()
    )
    return {(line.arm, line.against): line for line in found.lines if line.metric == metric}


def test_every_arm_stands_beside_its_controls_and_the_dense_model() -> None:
    assert list(lines(table1())) == [
        ("aligned", "unaligned"),
        ("SCU/pooled", "random like SCU/pooled"),
        ("SCU/pooled", "aligned"),
        ("random like SCU/pooled", "aligned"),
    ]


def test_one_answer_each_is_tested_by_mcnemar() -> None:
    line = lines(table1())["SCU/pooled", "aligned"]
    assert line.paired is not None
    assert line.paired.test == "McNemar, exact"
    assert line.paired.difference.value == pytest.approx(14 / N) == line.difference
    assert line.paired.p == pytest.approx(2 / 2**14)
    assert line.ranks is None


def test_control_draws_are_averaged_prompt_by_prompt_and_ranked() -> None:
    line = lines(table1())["SCU/pooled", "random like SCU/pooled"]
    assert line.paired is not None
    assert line.paired.difference.value == pytest.approx((16 - 2) / N)
    assert line.paired.difference.n == N
    assert line.paired.test.startswith("sign-flip")
    assert line.ranks == ["1/3"]
    tied = lines(table1(draws=(16, 3, 17)))["SCU/pooled", "random like SCU/pooled"]
    assert tied.ranks == ["3/4"], "a tie is lost"


def with_values(made: RunRecord, metric: str, given: Mapping[str, float | None]) -> RunRecord:
    """Printed values of some arms replaced; None is a gap."""
    arms = [
        replace(
            item,
            metrics={**item.metrics, metric: replace(item.metrics[metric], value=given[item.name])},
        )
        if item.name in given
        else item
        for item in made.arms
    ]
    return replace(made, arms=arms)


def test_a_tie_up_to_rounding_is_lost() -> None:
    """As of two means of thirds whose terms came in another order."""
    own, other = 0.8233333333333333, 0.8233333333333334
    given = {"SCU/pooled": other, "SCU/pooled/random/0": own, "SCU/pooled/random/1": 0.1}
    made = with_values(table1(), f"asr/raw/{JUDGE}", given)
    line = lines(made)["SCU/pooled", "random like SCU/pooled"]
    assert own != other
    assert line.ranks == ["2/3"]


def test_an_overflow_is_as_bad_as_another() -> None:
    """Their difference is no number, and a tie is lost."""
    made = table1(draws=(1, 3))
    for item in made.arms[2:]:
        item.metrics["perplexity"] = replace(item.metrics["perplexity"], value=math.inf)
    line = lines(made, metric="perplexity")["SCU/pooled", "random like SCU/pooled"]
    assert line.ranks == ["3/3"]


@pytest.mark.parametrize("unscored", ["SCU/pooled/random/1", "SCU/pooled"])
def test_an_arm_or_a_draw_without_a_score_leaves_no_difference_and_no_rank(unscored: str) -> None:
    """The draw left out may be the one that was no better than the arm."""
    sound = [table1(0), table1(2, scu=13)]
    silent = with_values(table1(1, scu=10), f"asr/raw/{JUDGE}", {unscored: None})
    pair = "SCU/pooled", "random like SCU/pooled"
    line = lines(*sound, silent)[pair]
    assert (line.difference, line.seeds.p, line.ranks) == (None, None, None)
    line = lines(*sound)[pair]
    assert line.difference == pytest.approx(((16 - 2) + (13 - 2)) / 2 / N)
    assert line.ranks == ["1/3", "1/3"]


@pytest.mark.parametrize("overflowed", [["SCU/pooled"], ["aligned"], ["SCU/pooled", "aligned"]])
def test_two_seeds_do_not_stand_for_a_third_that_overflowed(overflowed: list[str]) -> None:
    losses = {0: 2.6, 1: 2.7, 2: 2.9}
    runs = [
        with_values(table1(seed), "perplexity", {"SCU/pooled": math.exp(loss)})
        for seed, loss in losses.items()
    ]
    pair = "SCU/pooled", "aligned"
    line = lines(*runs, metric="perplexity")[pair]
    assert line.difference == pytest.approx((0.1 + 0.2 + 0.4) / 3)
    assert line.seeds.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.4], 0).pvalue)
    runs[1] = with_values(runs[1], "perplexity", dict.fromkeys(overflowed, math.inf))
    line = lines(*runs, metric="perplexity")[pair]
    assert (line.difference, line.seeds.p) == (None, None)


def test_nothing_to_compare_is_said(tmp_path: Path, capsys: Capture) -> None:
    alone = record(arms=[arm("unaligned", 0.1)])
    RecordStore(tmp_path).write(alone)
    assert main(["compare", "table1_pruning", "--root", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert (said.out, "Nothing to compare" in said.err) == ("", True)


@pytest.mark.parametrize("asked", [0, 1])
def test_a_judge_that_was_asked_later_of_one_seed_is_compared_by(
    tmp_path: Path, capsys: Capture, asked: int
) -> None:
    """Whichever seed comes first; the other is a gap."""
    name = "asr/raw/later"
    for seed in (0, 1):
        made = table1(seed)
        if seed == asked:
            for item in made.arms:
                item.metrics[name] = item.metrics[f"asr/raw/{JUDGE}"]
            made = replace(made, judges={**made.judges, "later": {"kind": "keyword"}})
        RecordStore(tmp_path).write(made)
    text = printed(
        capsys, "table1_pruning", "--root", str(tmp_path), "--judge", "later", "--metrics", "asr",
        "--format", "csv",
    )  # fmt: skip
    assert set(pd.read_csv(io.StringIO(text))["metric"]) == {name}


def test_one_name_of_several_judges_is_not_compared_by() -> None:
    made = [
        replace(table1(seed), judges={"later": {"model": seed}}, later=("later",))
        for seed in (0, 1)
    ]
    with pytest.raises(ConfigError, match=r"--judge=later is not the same judge of runs 0+, 0+1"):
        _judge(made, argparse.Namespace(judge="later"))
    assert _judge(made[:1], argparse.Namespace(judge="later")) == "later"


def test_losses_are_compared_in_nats() -> None:
    line = lines(table1(), metric="perplexity")["SCU/pooled", "aligned"]
    assert line.difference == pytest.approx(0.1)
    assert line.paired is not None
    assert line.paired.effect.value == pytest.approx(math.exp(0.1))


def test_seeds_are_averaged_prompt_by_prompt_and_counted_once_beside() -> None:
    line = lines(table1(0), table1(1, scu=10))["SCU/pooled", "aligned"]
    assert line.paired is not None
    assert line.paired.difference.n == N, "not twice as many prompts"
    assert line.paired.difference.value == pytest.approx(11 / N)
    assert line.seeds.mean.value == pytest.approx(11 / N)
    assert line.seeds.mean.n == 2
    assert line.seeds.p is not None


def test_seeds_on_other_prompts_stand_in_line() -> None:
    other = table1(1, scu=10, inputs={"model": "m", "harmful_eval": "others"})
    line = lines(table1(0), other)["SCU/pooled", "aligned"]
    assert line.paired is not None
    assert line.paired.difference.n == 2 * N
    assert line.paired.test == "McNemar, exact"


def test_holm_is_over_the_whole_table() -> None:
    found = compare_arms([table1()], JUDGE, LEVEL, Margins())
    smallest = min(line.paired.p for line in found.lines)  # type: ignore[union-attr, type-var]
    tested = len(found.lines)
    assert min(line.p_holm for line in found.lines) == pytest.approx(tested * smallest)  # type: ignore[type-var]
    alone = compare_arms([table1()], JUDGE, LEVEL, Margins(), ["perplexity"])
    assert {line.metric for line in alone.lines} == {"perplexity"}
    assert len(alone.lines) < tested


def training() -> RunRecord:
    counts = {"unaligned": 18, "aligned": 1, "full": 15, "setting_i": 5}
    arms = [
        with_outcomes(trained_arm(name, 0), marks(count), judge=TRAINING_JUDGE)
        for name, count in {**counts, "setting_i/random/0": 12}.items()
    ]
    return training_record(arms=arms)


def test_trained_arms_stand_beside_plain_fine_tuning_too() -> None:
    found = lines(training(), metric=f"asr/raw/{TRAINING_JUDGE}")
    assert list(found) == [
        ("aligned", "unaligned"),
        ("full", "aligned"),
        ("setting_i", "random like setting_i"),
        ("setting_i", "full"),
        ("setting_i", "aligned"),
        ("random like setting_i", "aligned"),
    ]
    assert found["setting_i", "full"].difference == pytest.approx(-10 / N)
    assert found["setting_i", "random like setting_i"].ranks == ["2/2"]


def with_gap(item: ArmRecord, style: str) -> ArmRecord:
    """The first harmful answer in a style is left unscored."""
    assert item.outcomes is not None
    key, kept = f"harmful/{style}/{JUDGE}", item.outcomes
    marks = {**kept.verdicts, key: f"?{kept.verdicts[key][1:]}"}
    return replace(item, outcomes=replace(kept, verdicts=marks))


@pytest.mark.parametrize(
    ("gap_in", "metric", "against", "difference"),
    [
        ("SCU/pooled", "asr/raw", "aligned", 14 / 19),
        ("SCU/pooled/random/1", "asr/raw", "random like SCU/pooled", 14 / 19),
        ("SCU/pooled", "asr/mean", "aligned", 14 / 19),
    ],
)
def test_an_unscored_answer_is_in_no_pair(
    gap_in: str, metric: str, against: str, difference: float
) -> None:
    """It is no refusal, and neither are those of another draw or style that it is averaged with."""
    run = table1()
    arms = [with_gap(item, "raw") if item.name == gap_in else item for item in run.arms]
    line = lines(replace(run, arms=arms), metric=f"{metric}/{JUDGE}")["SCU/pooled", against]
    assert line.paired is not None
    found = line.paired.difference
    assert (found.n, found.value) == (N - 1, pytest.approx(difference))


def test_records_without_outcomes_give_differences_and_gaps(
    tmp_path: Path, capsys: Capture
) -> None:
    old = table1()
    old = replace(old, arms=[replace(item, outcomes=None) for item in old.arms])
    text = old.to_json()
    assert '"outcomes": null' in text
    path = tmp_path / "old.json"
    path.write_text(text.replace('"outcomes": null,', ""))
    assert main(["compare", str(path)]) == 0
    shown = capsys.readouterr().out
    row = next(
        line for line in shown.splitlines() if "| SCU/pooled" in line and "ASR, raw text " in line
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:] == ["", "+70.0", "", "", "", "", "", "1/3"]
    assert "Gaps: a record keeps no outcomes" in shown


def printed(capsys: Capture, *arguments: str) -> str:
    assert main(["compare", *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def root(tmp_path: Path) -> str:
    for seed in (0, 1):
        RecordStore(tmp_path).write(table1(seed))
    return str(tmp_path)


def test_an_artefact_a_folder_and_a_record_are_one_thing(root: str, capsys: Capture) -> None:
    few = ("--metrics", "borderline_refusal")
    by_name = printed(capsys, "table1_pruning", "--root", root, *few)
    assert "seeds 0, 1." in by_name
    folders = [str(path.parent) for path in Path(root).rglob("record.json")]
    assert printed(capsys, *sorted(folders), *few) == by_name
    files = [f"{folder}/record.json" for folder in folders]
    assert printed(capsys, *files, *few) == by_name
    assert "seed 1." in printed(capsys, max(folders), *few)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_machines_read_every_number(root: str, capsys: Capture, form: str) -> None:
    text = printed(capsys, "table1_pruning", "--root", root, "--format", form, "--claim", "differs")
    frame = pd.read_csv(io.StringIO(text)) if form == "csv" else pd.DataFrame(json.loads(text))
    row = frame[
        (frame["arm"] == "SCU/pooled") & (frame["against"] == "aligned")
        & (frame["metric"] == f"asr/raw/{JUDGE}")
    ].iloc[0]  # fmt: skip
    assert row["difference"] == pytest.approx(14 / N)
    assert 0 < row["p"] < row["p_holm"] < 0.05
    assert (row["claim"], bool(row["shown"])) == ("differs", True)
    assert row["tost"] == "not shown"
    assert (row["n"], row["unit"], row["margin"]) == (N, "prompts", 0.05)


def test_machines_can_tell_the_lines_of_settings_apart(root: str, capsys: Capture) -> None:
    other = table1(0, run_id="other")
    other.config["units"]["samples"] = 16
    RecordStore(Path(root)).write(other)
    text = printed(capsys, "table1_pruning", "--root", root, "--format", "csv")
    frame = pd.read_csv(io.StringIO(text))
    assert set(frame["runs"]) == {f"{0:012x} {1:012x}", "other"}
    assert not frame.duplicated(["runs", "arm", "against", "metric"]).any()


def test_the_level_asked_for_is_that_of_the_intervals(root: str, capsys: Capture) -> None:
    few = ("table1_pruning", "--root", root, "--metrics", "asr/raw", "--format", "csv")
    found = pd.read_csv(io.StringIO(printed(capsys, *few, "--confidence", "0.8")))
    assert found["interval"].str.contains(" 80%").all()


def test_the_margin_decides_what_is_no_worse(root: str, capsys: Capture) -> None:
    def verdict(margin: str) -> str:
        text = printed(
            capsys, "table1_pruning", "--root", root, "--format", "csv", "--metrics", "asr",
            "--margin", margin, "--claim", "no-worse",
        )  # fmt: skip
        frame = pd.read_csv(io.StringIO(text))
        chosen = frame[(frame["arm"] == "random like SCU/pooled")]
        assert set(chosen["shown"]) == {margin == "0.5"}
        return str(chosen["tost"].iloc[0])

    assert verdict("0.01") == "not shown"
    assert verdict("0.5") == "equivalent"


def test_latex_is_escaped(root: str, capsys: Capture) -> None:
    text = printed(capsys, "table1_pruning", "--root", root, "--format", "latex")
    assert r"table1\_pruning" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table1_prunning"], "Did you mean 'table1_pruning'?"),
        (["table1_pruning", "--judge", "zou2032"], "Did you mean 'zou2023'?"),
        (["table1_pruning", "--metrics", "asrr"], "Did you mean 'asr'?"),
        (["table1_pruning", "--margin", "0"], "--margin=0 lies outside (0, 1]."),
        (["table1_pruning", "--confidence", "95"], "--confidence=95 lies outside"),
        (["table2_freezing"], "No record of table2_freezing"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    root: str, capsys: Capture, arguments: list[str], message: str
) -> None:
    assert main(["compare", *arguments, "--root", root]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""


def test_records_in_folders_are_compared_as_those_of_a_root(
    root: str, tmp_path: Path, capsys: Capture
) -> None:
    stored = RecordStore(Path(root)).read("table1_pruning")
    for item in stored:
        (tmp_path / f"{item.run_id}.json").write_text(item.to_json(), encoding="utf-8")
    other = replace(training(), run_id="other")
    (tmp_path / "other.json").write_text(other.to_json(), encoding="utf-8")
    expected = printed(capsys, "table1_pruning", "--root", root)
    assert printed(capsys, "table1_pruning", "--records", str(tmp_path)) == expected
    run = str(tmp_path / f"{stored[0].run_id}.json")
    assert main(["compare", run, "--records", str(tmp_path)]) == 2
    assert "name the artefact" in capsys.readouterr().err


def test_runs_of_two_artefacts_are_refused(root: str, tmp_path: Path, capsys: Capture) -> None:
    RecordStore(tmp_path).write(training())
    assert main(["compare", "table1_pruning", "table2_freezing", "--root", root]) == 2
    assert "different artefacts" in capsys.readouterr().err
