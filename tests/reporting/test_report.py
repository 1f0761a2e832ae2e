"""The report's parts, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ssah_exp.cli import main
from ssah_exp.config.artefacts import PROBE
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, read_folder
from ssah_exp.reporting.report.environments import Environment, environments
from ssah_exp.reporting.report.flat import flat, lacking, own, shared
from ssah_exp.reporting.report.page import render_report, value_parts
from ssah_exp.reporting.report.payload import embedded, losses_of, payload, thinned
from ssah_exp.reporting.report.pictures import MOST_PICTURED
from ssah_exp.reporting.report.runs import key_arm, run_lines
from ssah_exp.reporting.report.sections import sections
from ssah_exp.reporting.rows import blocks
from ssah_exp.reporting.setting_text import notes_below
from tests.records.synthetic import (
    JUDGE,
    TRAINING_JUDGE,
    arm,
    arms,
    metrics,
    record,
    trained_arm,
    training_record,
)
from tests.reporting.pages import HOSTILE, copies, pruned, records, trained

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(records())


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_the_policy_allows_the_pages_own_style_and_script_and_no_request(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    policy = policy.replace("&#39;", "'")
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for rule in ("default-src 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert " style=" not in page, "the policy would drop it"
    assert not re.search(r'(src|href)="(?!#|data:,)', page)


def test_what_a_record_holds_stays_text(page: str) -> None:
    assert HOSTILE not in page
    assert "<img" not in page
    assert page.count("</script>") == 2
    named = [run["own"].get("config.model.name") for run in data_of(page)["runs"]]
    assert named.count(HOSTILE) == 1


def test_the_page_counts_what_runs_can_be_filtered_by_and_names_the_newest() -> None:
    made = [pruned(2, 1), trained(1), pruned(0), pruned(3)]
    made[0].config["data"]["name"] = "another"
    page = render_report(made)
    filters = re.findall(r'data-filter="(\w+)">(.*?)</select>', page, re.S)
    values = {
        name: re.findall(r'<option value="([^"]+)">.*?\((\d)\)</option>', options)
        for name, options in filters
    }
    assert values == {
        "artefact": [("table1_pruning", "3"), ("table2_freezing", "1")],
        "data": [("another", "1"), ("bundled", "3")],
        "seed": [("0", "3"), ("1", "1")],
    }
    assert f'the newest finished <time datetime="{made[-1].finished}">' in page


def test_no_completions_on_the_page() -> None:
    text = render_report([record()])
    assert ".jsonl" not in text


def test_json_inside_html_cannot_end_its_element() -> None:
    given = {"a": "</script><!--\u2028&"}
    text = embedded(given)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == given
    with pytest.raises(ValueError, match="JSON"):
        embedded([math.nan])


def entries(content: dict, run: dict) -> dict[str, str]:
    """What the page's script knows of a run."""
    missing = {list(content["common"])[at] for at in content["lacking"][run["lacks"]]}
    assert not missing & set(run["own"])
    return {
        key: value
        for key, value in {**content["common"], **run["own"]}.items()
        if key not in missing
    }


def test_every_entry_of_every_run_can_be_read_back() -> None:
    made = records()
    content = payload(made)
    for run, source in zip(content["runs"], made, strict=True):
        assert entries(content, run) == flat(source)
    assert len(content["lacking"]) == 2, "one of each artefact"


def test_what_is_common_is_written_once() -> None:
    runs = [{"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"a": "1", "b": "3", "c": "4"}]
    common = shared(runs)
    assert common == {"a": "1", "b": "3", "c": "4"}
    assert [own(run, common) for run in runs] == [{"b": "2"}, {}, {}]
    assert [lacking(run, common) for run in runs] == [(2,), (2,), ()]


def test_all_that_may_explain_a_difference_is_among_the_entries() -> None:
    made = record(3)
    assert {
        "config.seed": "3",
        "data.harmful_eval": "100",
        "inputs.model": "m",
        "models.aligned.revision": "r",
        f"judges.{JUDGE}.min_words": "20",
        "calibration.safety.tokens": "9",
        "provenance.code.version": "0",
        "status": "done",
        "template_hash": "h",
        "started": made.started,
        "finished": made.finished,
    }.items() <= flat(made).items()


def test_runs_of_one_code_and_machine_are_one_line_of_provenance() -> None:
    hardware = {"processor": "x86", "cores": 2, "gpus": ["A", "B"], "python": "3.11"}
    changed = {
        "code": {"commit": "0123456789abcdef", "dirty": True},
        "packages": {"torch": "2.6", "numpy": "2.2"},
        "hardware": hardware,
    }
    clean = {"code": {"commit": "f" * 40, "dirty": False}, "packages": changed["packages"]}
    runs = [
        replace(record(seed), started=f"2026-01-01T00:00:0{seed}+00:00", provenance=made)
        for seed, made in enumerate((clean, changed, changed, {}))
    ]
    machine = "x86, 2 cores, A, B, Python 3.11"
    ids = [run.run_id for run in runs]
    began = [run.started for run in runs]
    ended = [run.finished for run in runs]
    assert environments(runs) == [
        Environment("", "", "", "", ids[3:], began[3], ended[3]),
        Environment(
            *("0123456789ab", "with uncommitted changes", machine, "numpy 2.2, torch 2.6"),
            *(ids[1:3], began[1], ended[2]),
        ),
        Environment("f" * 12, "clean", "", "numpy 2.2, torch 2.6", ids[:1], began[0], ended[0]),
    ]


def test_the_arm_of_a_run_is_the_first_with_units_else_the_first_trained_else_the_last() -> None:
    """Never a control, which may come first."""
    own, control = trained_arm("setting_i", 0.3, 1.0), trained_arm("setting_i/random/0", 0.3, 1.0)
    dense, full = trained_arm("aligned", 0.1, 2.0), trained_arm("full", 0.7, 1.0)
    for given, expected in (
        ([dense, full, control, own, trained_arm("setting_ii", 0.2, 1.0)], own),
        ([dense, full, trained_arm("lora", 0.7, 1.0), control], trained_arm("lora", 0.7, 1.0)),
        ([dense, full], full),
        ([trained_arm("unaligned", 0.9), dense], dense),
        ([control], None),
    ):
        assert key_arm(training_record(arms=given)) == expected


def test_a_run_is_a_line_with_the_numbers_of_its_arm_and_of_the_aligned_model() -> None:
    cells = {"aligned": metrics(0.1, 1.0), "SCU/pooled": metrics(0.6, 2.0)}
    changed = [replace(item, metrics=cells.get(item.name, item.metrics)) for item in arms()]
    made = record(0, arms=changed, finished="2026-01-01T00:00:09+00:00")
    made.config["model"]["name"] = "A Model"
    first, second = run_lines([record(1), made])
    assert (first.record, second.record) == (made, record(1)), "newest first"
    assert (first.arm, first.budget) == ("SCU/pooled", 0.01)
    assert first.aligned.text == "10.0 [5.5, 17.4]"
    assert first.aligned.value == pytest.approx(10)
    assert first.rate.text == "60.0 [50.2, 69.1]"
    assert first.rate.value == pytest.approx(60)
    assert first.perplexity.value == pytest.approx(math.exp(2.1))
    words = f"{made.run_id} table1_pruning a model bundled seed 0 scu 0.01 unaligned aligned"
    assert first.words == f"{words} scu/pooled {JUDGE}"
    bare = replace(made, config={key: made.config[key] for key in made.config if key != "units"})
    (line,) = run_lines([bare])
    assert line.budget is None


def test_the_script_is_told_what_is_looked_at_first() -> None:
    made = [training_record(4), record(2)]
    content = payload(made)
    names = [metric["name"] for metric in content["metrics"]]
    mean = sorted(name for name in names if name.startswith("asr/mean/"))
    assert names[:6] == [*mean, "perplexity", "train_loss", "trained_share", "epochs"]
    assert names[6:] == sorted(names[6:])
    first = [f"asr/mean/{TRAINING_JUDGE}", f"asr/mean/{JUDGE}"]
    assert [names[run["primary"]] for run in content["runs"]] == first
    assert [run["seed"] for run in content["runs"]] == [4, 2]
    losses = [item.get("losses") for item in payload([trained(0)])["runs"][0]["arms"]]
    assert losses[:2] == [None, None], "not trained"
    assert (losses[2][0], losses[2][-1]) == ([1, 2.0], [30, 1.71])
    few = Estimate(0.123456, None, None, 3, "examples", "fixed sample")
    (run,) = payload([record(arms=[arm("aligned", 0, metrics={"train_loss": few})])])["runs"]
    assert run["arms"][0]["metrics"]["0"][1:] == [0.12346, 3], "enough digits for a difference"


def test_numbers_are_written_as_in_the_tables() -> None:
    content = payload(records())
    index = [metric["name"] for metric in content["metrics"]].index(f"asr/mean/{JUDGE}")
    arm = next(item for item in content["runs"][0]["arms"] if item["name"] == "SCU/pooled")
    assert arm["metrics"][str(index)] == ["60.0 [50.2, 69.1]", 60.0, 100]
    lost = content["runs"][5]["arms"][2]["metrics"]
    assert lost[str(index)] == ["", None, 0]
    at = [metric["name"] for metric in content["metrics"]].index("perplexity")
    assert lost[str(at)] == ["inf", "inf", 3]


def test_runs_go_by_their_own_names() -> None:
    made = records()
    assert [(run["id"], run["artefact"]) for run in payload(made)["runs"]] == [
        (item.run_id, item.artefact) for item in made
    ]


def test_a_training_that_noted_no_losses_has_no_curve() -> None:
    assert losses_of(None) == losses_of({}) == losses_of({"losses": None}) == []


def test_long_curves_keep_their_ends() -> None:
    losses = [float(step) for step in range(1001)]
    points = thinned(losses)
    assert (points[0], points[-1], len(points)) == ((1, 0.0), (1001, 1000.0), 200)
    assert thinned([1.0, 2.0]) == [(1, 1.0), (2, 2.0)]


def test_what_a_table_says_below_it_stands_on_the_page_too() -> None:
    """A dagger that nobody explains, a judge that failed: the page showed neither."""
    made = replace(record(), status="incomplete")
    ((setting,),) = [section.settings for section in sections([made])]
    below = notes_below(blocks([made])[0])
    assert setting.tables[0].notes == below
    assert any("Fewer examples" in note for note in below)
    assert any("Incomplete" in note for note in below)
    assert flat(made)["status"] == "incomplete"


def test_a_column_of_numbers_is_one_where_a_mean_lacks_seeds_too() -> None:
    made = [record(seed) for seed in range(3)]
    scu = next(item for item in made[1].arms if item.unit_class == "SCU")
    scu.metrics[f"asr/raw/{JUDGE}"] = replace(scu.metrics[f"asr/raw/{JUDGE}"], value=None)
    ((setting,),) = [section.settings for section in sections(made)]
    table = setting.tables[0]
    at = next(at for at, name in enumerate(table.headings) if name == "ASR %, raw text")
    assert any("(2 of 3)" in row[at] for row in table.rows)
    assert table.numeric[at]


def test_a_column_of_numbers_is_one_with_daggers_too() -> None:
    made = record()
    (setting,) = sections([made])[0].settings
    table = setting.tables[0]
    at = table.headings.index("perplexity")
    assert any("†" in row[at] for row in table.rows)
    assert any("×/÷" in row[at] for row in table.rows)
    assert table.numeric[at]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("60.0 [50.2, 69.1]", ("60.0", "[50.2, 69.1]")),
        ("20.0 ± 10.0 [10.0, 30.0]", ("20.0", "± 10.0 [10.0, 30.0]")),
        ("20.1 ×/÷ 1.20 [17.0, 25.3] †", ("20.1", "×/÷ 1.20 [17.0, 25.3] †")),
        ("60.0 [50.2, 69.1] †", ("60.0", "[50.2, 69.1] †")),
        ("60.0 [50.2, 69.1] (2 of 3) †", ("60.0", "[50.2, 69.1] (2 of 3) †")),
        ("60.0 (2 of 3)", ("60.0", "(2 of 3)")),
        ("inf", ("inf", "")),
        ("", ("", "")),
    ],
)
def test_values_and_intervals_are_told_apart(text: str, parts: tuple[str, str]) -> None:
    assert value_parts(text) == parts


def names_of(made: RunRecord) -> list[str]:
    """The arms that were trained."""
    return [item.name for item in made.arms if item.training is not None]


def test_certificates_and_comparison_stand_below_the_figures() -> None:
    found = {section.artefact: section for section in sections(records())}
    (setting,) = found["table2_freezing"].settings
    assert setting.tables[0].caption.startswith("Measured")
    certificates = setting.tables[1]
    assert certificates.caption.startswith("Certificates")
    assert len(certificates.rows) == 2 * 5
    by_seed = [f"{name} {seed}" for seed in (0, 1) for name in names_of(trained(0))]
    assert [f"{row[0]} {row[1]}" for row in certificates.rows] == by_seed
    row = certificates.rows[0]
    assert row[2:] == [
        "freeze",
        "30",
        "1\u2009234\u2009567",
        "1\u2009234\u2009568",
        "7\u2009654\u2009321",
        "ab" * 8,
    ]
    assert setting.runs == [trained(3).run_id, trained(4).run_id], "by seed"
    assert [chart.title for chart in setting.charts] == [
        "ASR %, mean of the styles of every arm",
        "perplexity of every arm",
        "ASR %, mean of the styles against training loss",
        "Training loss of every arm",
    ]
    assert ", log scale" in setting.charts[1].caption
    assert (found["table2_freezing"].runs, found["table1_pruning"].runs) == (2, 5)
    assert len(found["table1_pruning"].settings) == 3
    beside = found["table1_pruning"].settings[0].tables[1]
    assert beside.caption.startswith("Ours beside the paper")
    assert beside.rows


def test_no_empty_table_stands_where_nothing_published_was_measured() -> None:
    """Table 3 of the paper is of benchmarks, which these runs do not have."""
    folder = Path(__file__).resolve().parents[2] / "experiments" / "table3_peft" / "records"
    (section,) = sections(read_folder(folder)[:1])
    for setting in section.settings:
        assert all(table.rows and table.headings for table in setting.tables)
        measured, *rest = setting.tables
        assert not any(table.caption.startswith("Ours beside") for table in rest)
        assert any(note.startswith("Not measured here, but published") for note in measured.notes)


def test_older_settings_are_counted_and_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssah_exp.reporting.report.sections.MOST_SETTINGS", 3)
    (section,) = sections([pruned(number, scu=0.01 * (1 + number)) for number in range(4)])
    assert (len(section.settings), section.left) == (3, 1)
    assert "SCU 0.04" in section.settings[0].title


def test_the_command_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, out = RecordStore(tmp_path / "root"), tmp_path / "new" / "report.html"
    assert main(["report", "--root", str(tmp_path / "root"), "--out", str(out)]) == 2
    assert "No record below" in capsys.readouterr().err
    assert not out.parent.exists()
    for made in records():
        store.write(made)
    assert main(["report", "--root", str(tmp_path / "root"), "--out", str(out)]) == 0
    assert "7 runs" in capsys.readouterr().out
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_the_same_run_in_a_store_and_a_folder_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RecordStore(tmp_path).write(pruned(0))
    (tmp_path / "copy.json").write_text(pruned(0).to_json(), encoding="utf-8")
    arguments = ["--root", str(tmp_path), "--records", str(tmp_path)]
    assert main(["report", *arguments, "--out", str(tmp_path / "r.html")]) == 0
    assert "1 run," in capsys.readouterr().out


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(StoreError, match="at least one"):
        render_report([])


@pytest.fixture(scope="module")
def committed() -> tuple[list[RunRecord], str]:
    """The committed records and their page."""
    made = read_folder(EXPERIMENTS)
    return made, render_report(made)


@pytest.mark.exhaustive
def test_the_committed_records_make_a_page(committed: tuple[list[RunRecord], str]) -> None:
    made, text = committed
    assert len(data_of(text)["runs"]) == len(made) >= 21
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).lower().split()


@pytest.mark.exhaustive
def test_five_hundred_runs_like_the_committed_ones_make_a_small_page(
    committed: tuple[list[RunRecord], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of nine artefacts: most of them lack most of what others are made of."""
    made, smaller = committed
    drawn = re.findall(r'<img class="picture"[^>]*>', smaller)
    assert drawn, "as many on the larger page; drawn once is enough"
    monkeypatch.setattr("ssah_exp.reporting.report.sections.pictures", lambda _: [])
    runs = copies(made, 500)
    text = render_report(runs)
    assert len(text.encode()) + sum(map(len, drawn)) < 10e6
    content = data_of(text)
    assert {run.artefact for run in runs} == {run["artefact"] for run in content["runs"]}
    for run, source in zip(content["runs"], runs, strict=True):
        assert entries(content, run) == flat(source)


@pytest.mark.exhaustive
def test_the_newest_probes_are_drawn_into_the_page(committed: tuple[list[RunRecord], str]) -> None:
    made, page = committed
    probes = [run for run in made if run.artefact == PROBE]
    assert len(probes) > MOST_PICTURED
    sources = re.findall(r'<img class="picture" src="data:image/svg\+xml;base64,([^"]+)"', page)
    newest = sorted(probes, key=lambda run: run.finished)[-MOST_PICTURED:]
    assert len(sources) == sum(2 * len(run.config["probe"]["distances"]) + 1 for run in newest)
    for source in sources:
        assert ElementTree.fromstring(base64.b64decode(source)).tag.endswith("svg")
    for run in newest:
        assert f"distances: {run.config['model']['name']}" in page
        assert page.count(f"run {run.run_id}") >= 3
