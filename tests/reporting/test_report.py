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
from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore, read_folder
from ssah_exp.reporting.report.charts.forest import forest
from ssah_exp.reporting.report.charts.parts import tick_texts
from ssah_exp.reporting.report.charts.training import curves, scatter
from ssah_exp.reporting.report.environments import Environment, environments
from ssah_exp.reporting.report.flat import flat, lacking, own, shared
from ssah_exp.reporting.report.page import render_report, value_parts
from ssah_exp.reporting.report.payload import embedded, payload, thinned
from ssah_exp.reporting.report.pictures import MOST_PICTURED
from ssah_exp.reporting.report.runs import key_arm, run_lines
from ssah_exp.reporting.report.sections import sections
from ssah_exp.reporting.report.svg import Scale, element, spanning
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


def test_scales_put_values_where_they_belong() -> None:
    scale = Scale(0, 100, 50, 250)
    assert [scale(value) for value in (0, 25, 100, 200)] == [50, 100, 250, 250]
    log = Scale(1, 10000, 0, 400, log=True)
    assert [log(value) for value in (1, 10, 10000, math.inf)] == [0, 100, 400, 400]
    assert scale.ticks() == [0, 25, 50, 75, 100]
    assert log.ticks() == [1, 10, 100, 1000, 10000]
    huge = spanning([2.0, 1e304, 3.0], 0, 10, log=True)
    assert huge.ticks()
    assert (huge(1e304), huge(math.inf)) == (10, 10)
    around = spanning([2.0, math.inf, 3.0], 0, 10)
    assert around.low < 2 < 3 < around.high < 4
    assert spanning([5.0], 0, 10).low < 5 < spanning([5.0], 0, 10).high


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (1.2, 2.1, ["1.25", "1.50", "1.75", "2.00"]),
        (0, 100, ["0", "25", "50", "75", "100"]),
        (0.83, 0.94, ["0.85", "0.90"]),
        (1, 16, ["5", "10", "15"]),
    ],
)
def test_ticks_are_written_as_they_are(low: float, high: float, texts: list[str]) -> None:
    ticks = tick_texts(Scale(low, high, 0, 10))
    assert [text for _, text in ticks] == texts
    assert [float(text) for text in texts] == [value for value, _ in ticks]


def test_elements_escape_text_and_attributes() -> None:
    made = element("text", "<b>&", class_='a"b', data_x="<")
    assert str(made) == '<text class="a&#34;b" data-x="&lt;">&lt;b&gt;&amp;</text>'


def test_the_forest_shows_interval_seeds_and_null_draws() -> None:
    (block,) = blocks([pruned(0), pruned(1, 1, 0.1)])
    chart = forest(block, f"asr/mean/{JUDGE}")
    assert chart is not None
    svg, across = str(chart.svg), Scale(0, 100, 112, 406)
    assert svg.count('<g class="random">') == 6, "three draws of each seed"
    assert svg.count("c0 faint") == 6, "two seeds of three arms"
    assert f'cx="{across(65)}"' in svg, "SCU, mean of 60 and 70"
    assert "SCU/pooled/random/2, seed 1: 40.0 [" in svg
    assert ("random", "cross", "random control") in chart.legend
    assert chart.legend[:2] == [
        ("c0", "dot", "mean over seeds, with its interval"),
        ("c0 faint", "dot", "each seed"),
    ]
    assert svg.rindex('class="random"') < svg.rindex("c0 faint"), "what is by chance lies behind"
    for seed in (60, 70):
        assert f'cx="{across(seed)}"' in svg
    (alone,) = blocks([pruned(0)])
    single = forest(alone, f"asr/mean/{JUDGE}")
    assert single is not None
    assert single.legend[0] == ("c0", "dot", "measured, with its interval")


def test_intervals_and_null_draws_of_the_forest_lie_at_their_values() -> None:
    run = pruned(0)
    run.arms.append(arm("SCU/zero", 0.9))
    (block,) = blocks([run])
    chart = forest(block, f"asr/mean/{JUDGE}")
    assert chart is not None
    svg, across = str(chart.svg), Scale(0, 100, 112, 406)
    row = next(item for item in block.rows if (item.label, item.fill) == ("SCU", "pooled"))
    cell = row.cells[f"asr/mean/{JUDGE}"]
    assert cell.low is not None
    assert cell.high is not None
    ends = [across(100 * end) for end in (cell.low, cell.high)]
    (whiskers,) = re.findall(rf'd="M{ends[0]} [\d.]+H([\d.]+)" class="whisker"', svg)
    assert float(whiskers) == ends[1]
    crosses = [f'd="M{across(value) - 4.5:.1f} ' in svg for value in (10, 20, 30)]
    assert crosses == [True] * 3
    assert "SCU, pooled: 60.0 [50.2, 69.1], n = 100, Wilson 95%" in svg
    assert svg.count('class="random"') == 3, "those of the other fill are not theirs"


def test_every_kind_of_control_has_a_mark_and_a_colour_and_no_loss_curve(page: str) -> None:
    run = pruned(0)
    draws = [arm(f"SCU/pooled/{kind}/0", 0.2) for kind in CONTROLS]
    run.arms[:] = [*(item for item in run.arms if item.control is None), *draws]
    (block,) = blocks([run])
    chart = forest(block, f"asr/mean/{JUDGE}")
    assert chart is not None
    marks = [row for row in chart.legend if row[2].endswith("control")]
    assert marks == [
        ("random", "cross", "random control"),
        ("matched", "triangle", "matched control"),
        ("shifted", "square", "shifted control"),
        ("normed", "diamond", "normed control"),
    ]
    (left_out,) = re.findall(r"!/(\S+)/\.test\(arm\.name\)", page)
    for kind, draw in zip(CONTROLS, draws, strict=True):
        assert f".{kind} {{ color: var(--{kind}); }}" in page
        assert page.count(f"--{kind}: #") == 2, "by day and by night"
        assert re.search(left_out, draw.name), "a control's losses are no curve of their own"


def test_the_forest_says_which_marks_are_infinite() -> None:
    """They lie a little beyond the others, and only a title that nobody prints said so."""
    (whole,) = blocks([record(0)])
    chart = forest(whole, "perplexity", log=True)
    assert chart is not None
    assert "infinite" not in chart.caption
    made = record(0)
    made.arms[1] = replace(made.arms[1], metrics=metrics(0.5, 1e9))
    (over,) = blocks([made])
    chart = forest(over, "perplexity", log=True)
    assert chart is not None
    assert chart.caption.endswith("Marks at the right edge are infinite.")


def test_the_forest_says_so_where_no_controls_were_drawn() -> None:
    seeds = [pruned(0), pruned(1, 1, 0.1)]
    for run in seeds:
        run.arms[:] = [arm for arm in run.arms if arm.control is None]
    (block,) = blocks(seeds)
    chart = forest(block, f"asr/mean/{JUDGE}")
    assert chart is not None
    assert chart.caption.endswith("; no controls were drawn.")
    assert "control" not in str(chart.legend)


def test_settings_of_like_titles_are_told_apart_by_their_runs() -> None:
    runs = [pruned(0), pruned(1, 1), pruned(2), pruned(3, scu=0.05)]
    for number, run in enumerate(runs):
        run.config["units"]["max_length"] = number  # no title says that
    first, second, third = (run.run_id for run in runs[:3])
    (section,) = sections(runs)
    titles = {tuple(setting.runs): setting.title for setting in section.settings}
    assert titles[first,].endswith(f", seed 0, run {first}")
    assert titles[third,].endswith(f", seed 0, run {third}")
    assert titles[second,].endswith(", seed 1"), "alone"
    assert render_report(runs).count(f'data-open="{first}"') == 3, "row, setting, provenance"


def test_a_figure_without_values_is_left_out() -> None:
    (block,) = blocks([record()])
    assert forest(block, "train_loss") is None
    assert scatter(block, f"asr/mean/{JUDGE}") is None
    assert curves([record()]) is None


def test_loss_figures_hold_every_arm_of_every_seed() -> None:
    made = [trained(0), trained(1, 1)]
    (block,) = blocks(made)
    points = scatter(block, "asr/mean/zou2023")
    assert points is not None
    assert str(points.svg).count('class="fill"') == 2 * 2
    assert str(points.svg).count(' null">') == 2 * 3
    assert [(look, name) for look, _, name in points.legend] == [
        ("c0", "full"),
        ("c1", "setting_i"),
        ("plain", "random control"),
    ]
    lines = curves(made)
    assert lines is not None
    assert [(look, name) for look, _, name in lines.legend] == [("c0", "full"), ("c1", "setting_i")]
    assert [str(lines.svg).count(f"curve c{at}") for at in range(3)] == [2, 2, 0]
    assert str(lines.svg).count('class="curve c') == 4, "two arms of two seeds, no controls"
    assert "setting_i, seed 1: 1.900 to 1.610" in str(lines.svg)


def test_a_trained_arm_stands_at_its_loss_and_rate_and_its_curve_at_its_steps() -> None:
    run, metric = trained(0), f"asr/mean/{TRAINING_JUDGE}"
    chart = scatter(blocks([run])[0], metric)
    assert chart is not None
    svg = str(chart.svg)
    across, up = spanning([1.1, 1.3], 40, 406), Scale(0, 100, 250, 10)
    assert f'cx="{across(1.2)}" cy="{up(70)}"' in svg, "full"
    for item in run.arms:
        loss, rate = item.measured("train_loss").value, item.measured(metric)
        if item.arm is not None and loss and rate.low and rate.high:
            ends = f"M{across(loss)} {up(100 * rate.low)}V{up(100 * rate.high)}"
            assert f'd="{ends}"' in svg, item.name
    assert svg.rindex(' null">') < svg.index('class="c0"'), "what is by chance lies behind"
    assert f'd="M{across(1.3) - 4.5:.1f} {up(70) - 4.5:.1f}' in svg, "a control's cross"
    lines = curves([run])
    assert lines is not None
    over, height = Scale(1, 30, 40, 406), spanning([2.0, 1.71], 250, 10)
    assert f'd="M{over(1)} {height(2.0)}L' in str(lines.svg)
    assert f'L{over(30)} {height(1.71)}"' in str(lines.svg)


def test_a_loss_that_is_no_number_is_no_point_and_leaves_its_curve_whole() -> None:
    run = trained(0)
    full = next(item for item in run.arms if item.name == "full")
    assert full.training is not None
    full.training["losses"] = [3.0, math.inf, 2.0]
    full.metrics["train_loss"] = replace(full.metrics["train_loss"], value=math.inf)
    chart, lines = scatter(blocks([run])[0], f"asr/mean/{TRAINING_JUDGE}"), curves([run])
    assert chart is not None
    assert lines is not None
    assert str(chart.svg).count('class="fill"') == 1, "setting_i alone"
    (path,) = re.findall(r'd="(M[^"]*)" class="curve c0"', str(lines.svg))
    assert path.count("L") == 1, "from the first step to the third"


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


def test_the_committed_records_make_a_page(committed: tuple[list[RunRecord], str]) -> None:
    made, text = committed
    assert len(data_of(text)["runs"]) == len(made) >= 21
    assert "nan" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).lower().split()


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
