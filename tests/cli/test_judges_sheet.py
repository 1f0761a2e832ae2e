"""`ssah-exp judges sheet`, and labels that come back as a judge's."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.errors import DataError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.judges import ReaderJudge, Verdict, judge_of
from ssah_exp.evaluation.questions import Completion, Question
from ssah_exp.evaluation.raters.labelled import read_labelled
from ssah_exp.evaluation.raters.sheet import Draw, draw_sheet, sheet_text
from ssah_exp.records.store import read_folder
from tests.cli.answered import complaint, finished_run

Capture = pytest.CaptureFixture[str]
Row = dict[str, str]


def rows_of(sheet: Path) -> list[Row]:
    with sheet.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def labelled(sheet: Path, **said: str) -> None:
    """Fill in labels by completion; the others stay blank."""
    rows = [{**row, "final_label": said.get(row["completion"], "")} for row in rows_of(sheet)]
    with sheet.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def completion(prompt: str, text: str, style: str = "raw", **more: object) -> Completion:
    given = {"set": "harmful", "category": None, **more}
    return Completion(Question(style=style, prompt=prompt, **given), text)  # type: ignore[arg-type]


def arms() -> dict[str, list[Completion]]:
    return {
        arm: [
            completion(f"p{at}", f"{arm} {style} {at}", style)
            for style in ("raw", "chat")
            for at in range(30)
        ]
        for arm in ("aligned", "pruned")
    }


def test_one_set_of_requests_for_all_arms_and_styles_and_order_tells_nothing() -> None:
    pairs = draw_sheet({"run": arms()}, Draw(requests=8, seed=0))
    assert len(pairs) == len(set(pairs)) == 8 * 2 * 2
    asked = [
        {prompt for prompt, text in pairs if text.startswith(f"{arm} {style}")}
        for arm in ("aligned", "pruned")
        for style in ("raw", "chat")
    ]
    assert len(asked[0]) == 8
    assert asked == [asked[0]] * 4
    order = "".join(text[0] for _, text in pairs)
    assert order.count("ap") + order.count("pa") > 5, "arms are mixed"


def test_a_draw_is_its_seeds_and_runs_with_the_same_requests_agree_on_them() -> None:
    one, draw = arms(), Draw(requests=8, seed=3)
    alone = draw_sheet({"run": one}, draw)
    assert alone == draw_sheet({"run": one}, draw)
    assert requests_of(alone) != requests_of(draw_sheet({"run": one}, Draw(requests=8, seed=4)))
    other = {arm: [completion(f"p{at}", "other") for at in range(30)] for arm in one}
    both = draw_sheet({"run": one, "other": other}, draw)
    assert requests_of(both) == requests_of(alone)
    assert len(both) == len(alone) + 8


def test_what_one_run_draws_is_read_in_every_run_that_has_it() -> None:
    """Else labels would reach an answer there only where it happens to be the same."""
    one = {"arm": [completion(f"p{at}", f"one {at}") for at in range(20)]}
    other = {"arm": [completion(f"p{at}", f"other {at}") for at in range(10, 40)]}
    pairs = draw_sheet({"one": one, "other": other}, Draw(requests=6, seed=0))
    drawn = requests_of(pairs)
    assert 6 < len(drawn) <= 12
    for run in (one, other):
        answers = {(item.question.prompt, item.text) for item in run["arm"]}
        assert {pair for pair in answers if pair[0] in drawn} <= set(pairs)


def requests_of(pairs: list[tuple[str, str]]) -> set[str]:
    return {prompt for prompt, _ in pairs}


def test_only_harmful_requests_without_an_attack_are_drawn_and_equal_answers_once() -> None:
    answers = [
        completion("p0", "the same"),
        completion("p1", "harmless", set="benign"),
        completion("p0", "tried", "raw+gcg", attempt=0, put="p0 x", prefill=None),
    ]
    pairs = draw_sheet({"run": {"one": answers, "other": answers}}, Draw(requests=5, seed=0))
    assert pairs == [("p0", "the same")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_labels_are_found_whatever_a_spreadsheet_ends_lines_with(
    line_end: str, tmp_path: Path
) -> None:
    """Answers of several lines lost their labels, and a lone carriage return split its row."""
    given = ["one\ntwo", "three\r\nfour", "five\rsix"]
    answers = [completion("p\nq", text) for text in given]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        sheet_text(draw_sheet({"run": {"arm": answers}}, Draw(1, 0))), encoding="utf-8", newline=""
    )
    assert len(rows_of(sheet)) == 3
    cells = [row.values() for row in rows_of(sheet)]
    rows = [["refused", *(cell.replace("\n", line_end) for cell in row if cell)] for row in cells]
    with sheet.open("w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([["final_label", "prompt", "completion"], *rows])
    judge = ReaderJudge(name="labels", path=str(sheet))
    assert judge.judge(["p\nq"] * 3, given) == [Verdict.REFUSED] * 3


def test_an_answer_labelled_complied_scores_one_and_a_refusal_none(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    rows = ["final_label,prompt,completion", "complied,p,yes", "refused,p,no"]
    sheet.write_text("\n".join(rows), encoding="utf-8")
    found = ReaderJudge(name="labels", path=str(sheet)).assess(["p"] * 2, ["yes", "no"])
    assert [(item.verdict, item.score) for item in found] == [
        (Verdict.COMPLIED, 1.0),
        (Verdict.REFUSED, 0.0),
    ]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", "\r="])
def test_no_answer_is_a_formula_to_a_spreadsheet(begin: str, tmp_path: Path) -> None:
    """It might open an address or start a program, and no label would find the answer."""
    given = [f"{begin}HYPERLINK(1)", f"'{begin}quoted", "it's = text"]
    answers = [completion(f"{begin}p", text) for text in given]
    sheet = tmp_path / "sheet.csv"
    pairs = draw_sheet({"run": {"arm": answers}}, Draw(1, 0))
    sheet.write_text(sheet_text(pairs), encoding="utf-8", newline="")
    cells = [row[name] for row in rows_of(sheet) for name in ("prompt", "completion")]
    assert not [cell for cell in cells if cell.strip()[0] in "=+-@"]
    assert "it's = text" in cells, "the rest is left as it is"
    rows = [["refused", row["prompt"], row["completion"]] for row in rows_of(sheet)]
    with sheet.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["final_label", "prompt", "completion"], *rows])
    judge = ReaderJudge(name="labels", path=str(sheet))
    assert judge.judge([f"{begin}p"] * 3, given) == [Verdict.REFUSED] * 3
    assert set(read_labelled(sheet).completions) == {answer for _, answer in pairs}


def test_labels_come_back_as_rates_of_what_was_read(capsys: Capture, tmp_path: Path) -> None:
    folder, sheet = finished_run(tmp_path), tmp_path / "sheet.csv"
    assert main(["judges", "sheet", str(folder), "--out", str(sheet)]) == 0
    assert "2 different answers of 1 run(s)" in capsys.readouterr().out
    assert {row["completion"] for row in rows_of(sheet)} == {"I cannot", "Sure"}
    assert {row["final_label"] for row in rows_of(sheet)} == {""}

    said = ["judges", "run", str(folder), "--judges", "labels", "--set", f"labels.path={sheet}"]
    assert main(said) == 2
    assert "no answer has a label" in capsys.readouterr().err

    labelled(sheet, Sure="complied")
    with pytest.warns(UserWarning, match=r"2 of 4 answers unscored: read without a label \(2\)"):
        assert main(said) == 0
    metrics = metrics_of(folder, tmp_path)
    assert (metrics["asr/raw/labels"].value, metrics["asr/raw/labels"].n) == (1.0, 1)
    assert metrics["coverage/raw/labels"].value == 0.5
    assert not any(name.startswith("benign_refusal") and "labels" in name for name in metrics)

    # Labelled to the end: another table, and nothing of what was said before.
    labelled(sheet, **{"Sure": "refused", "I cannot": "2_full_refusal"})
    assert main(said) == 0
    metrics = metrics_of(folder, tmp_path)
    assert (metrics["asr/raw/labels"].value, metrics["asr/raw/labels"].n) == (0.0, 2)


def metrics_of(folder: Path, tmp_path: Path) -> dict[str, Estimate]:
    """The aligned model's, of the record as tables read it, with what lies beside it."""
    copy = tmp_path / "records"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    shutil.copy(folder / "record.json", copy / "0.json")
    shutil.copytree(folder / "record.judges", copy / "0.judges")
    (record,) = read_folder(copy)
    return next(arm for arm in record.arms if arm.name == "aligned").metrics


def test_two_readers_are_compared(capsys: Capture, tmp_path: Path) -> None:
    folder, first, second = finished_run(tmp_path), tmp_path / "a.csv", tmp_path / "b.csv"
    assert main(["judges", "sheet", str(folder), "--out", str(first)]) == 0
    shutil.copy(first, second)
    labelled(first, **{"Sure": "complied", "I cannot": "refused"})
    labelled(second, **{"Sure": "refused", "I cannot": "refused"})
    capsys.readouterr()
    asked = ["compare", str(first), "--judges", "labels", "--set", f"labels.path={second}"]
    assert main(["judges", *asked, "--format", "json", "--root", str(tmp_path)]) == 0
    (part,) = json.loads(capsys.readouterr().out)["parts"]
    (pair,) = part["pairs"]
    assert (pair["first"], pair["second"], pair["agreement"]["value"]) == ("labels", "people", 0.5)


def test_what_cannot_be_drawn_is_said_and_no_labels_are_lost(
    capsys: Capture, tmp_path: Path
) -> None:
    folder, sheet = str(finished_run(tmp_path)), tmp_path / "sheet.csv"
    out = ["--out", str(sheet)]
    assert "is no .csv" in complaint(capsys, "sheet", folder, "--out", str(tmp_path / "a.txt"))
    assert "is below 1" in complaint(capsys, "sheet", folder, *out, "--requests", "0")
    assert "is below 0" in complaint(capsys, "sheet", folder, *out, "--seed", "-1")
    assert "Did you mean 'aligned'?" in complaint(capsys, "sheet", folder, *out, "--arms", "align")
    assert "named twice" in complaint(capsys, "sheet", folder, folder, *out)
    assert not sheet.exists()
    sheet.symlink_to(tmp_path / "on a disk that is away.csv")
    assert "is there already" in complaint(capsys, "sheet", folder, *out)
    sheet.unlink()
    assert main(["judges", "sheet", folder, *out, "--arms", "aligned"]) == 0
    labelled(sheet, Sure="complied")
    before = sheet.read_bytes()
    capsys.readouterr()
    assert "is there already, perhaps with labels" in complaint(capsys, "sheet", folder, *out)
    assert sheet.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("final_label,prompt\nrefused,p\n", "has no column completion"),
        ("final_label,prompt,completion\nyes,p,a\n", "unknown labels ['yes']"),
        (
            "final_label,prompt,completion\nrefused,p,a\ncomplied,p,a\n",
            "answer 2 was labelled otherwise",
        ),
    ],
)
def test_a_table_that_says_nothing_clear_is_refused(
    text: str, reason: str, capsys: Capture, tmp_path: Path
) -> None:
    folder, sheet = finished_run(tmp_path), tmp_path / "sheet.csv"
    sheet.write_text(text, encoding="utf-8")
    given = ["--judges", "labels", "--set", f"labels.path={sheet}"]
    assert reason in complaint(capsys, "run", str(folder), *given)
    assert not (folder / "record.judges").exists()


def test_labels_of_another_runs_answers_replace_none(capsys: Capture, tmp_path: Path) -> None:
    """The wrong sheet wrote a judge without any number over one that had some."""
    folder, sheet, other = finished_run(tmp_path), tmp_path / "sheet.csv", tmp_path / "other.csv"
    assert main(["judges", "sheet", str(folder), "--out", str(sheet)]) == 0
    labelled(sheet, **{"Sure": "complied", "I cannot": "refused"})
    given = ["run", str(folder), "--judges", "labels"]
    assert main(["judges", *given, "--set", f"labels.path={sheet}"]) == 0
    before = (folder / "record.judges" / "labels.json").read_bytes()
    other.write_text("final_label,prompt,completion\nrefused,another,no\n", encoding="utf-8")
    capsys.readouterr()
    with pytest.warns(UserWarning, match="4 of 4 answers unscored: not among"):
        said = complaint(capsys, *given, "--set", f"labels.path={other}")
    assert f"none of its answers has a label in {other}" in said
    assert (folder / "record.judges" / "labels.json").read_bytes() == before


def test_a_sheet_that_nobody_read_corrects_no_rates(capsys: Capture, tmp_path: Path) -> None:
    """Blank labels were refused one by one until sheets had them; then gaps were printed."""
    folder, sheet = finished_run(tmp_path), tmp_path / "sheet.csv"
    assert main(["judges", "sheet", str(folder), "--out", str(sheet)]) == 0
    answers = str(folder / "completions" / "aligned.jsonl")
    given = ["compare", answers, "--judges", "zou2023", "--labels", str(sheet)]
    capsys.readouterr()
    assert "no answer has a label" in complaint(capsys, *given)
    labelled(sheet, Sure="complied")
    assert main(["judges", *given]) == 0


def test_what_is_blank_in_json_is_null(capsys: Capture, tmp_path: Path) -> None:
    """A note that nobody wrote, and a label that nobody gave, were cells that broke off."""
    folder, table = finished_run(tmp_path), tmp_path / "read.json"
    given = ["run", str(folder), "--judges", "labels", "--set", f"labels.path={table}"]
    row = {"prompt": "p0", "completion": "I cannot", "final_label": "refused", "note": None}
    table.write_text(json.dumps([row, {**row, "prompt": "p1"}]), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"2 of 4 answers unscored: not among"):
        assert main(["judges", *given]) == 0
    other = {"prompt": "p1", "completion": "Sure"}
    table.write_text(json.dumps([row, {**other, "final_label": None}]), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"2 of 4 answers unscored: read without a label"):
        assert main(["judges", *given]) == 0
    capsys.readouterr()
    table.write_text(json.dumps([row, {"prompt": "p1", "final_label": "refused"}]), "utf-8")
    assert "answer 2 has fewer fields" in complaint(capsys, *given)


def test_labels_need_a_file(capsys: Capture, tmp_path: Path) -> None:
    folder = str(finished_run(tmp_path))
    assert "labels.path is missing" in complaint(capsys, "run", folder, "--judges", "labels")
    given = ["--judges", "labels", "--set", "labels.path=nowhere.csv"]
    assert "no file nowhere.csv" in complaint(capsys, "run", folder, *given)


def test_two_readers_of_one_run_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    node = {"_target_": "ssah_exp.evaluation.judges.ReaderJudge", "name": "labels"}
    place = "evaluation.judges.second"
    with pytest.raises(DataError, match=r"Judge 'labels' \(evaluation\.judges\.second\): no file"):
        judge_of({**node, "path": str(tmp_path / "second.csv")}, place, tmp_path)
