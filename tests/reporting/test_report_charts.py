"""The report's charts: scales, forests, losses."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.reporting.report import page
from ssah_exp.reporting.report.charts.forest import forest
from ssah_exp.reporting.report.charts.parts import mark, tick_texts
from ssah_exp.reporting.report.charts.training import curves, scatter
from ssah_exp.reporting.report.page import render_report
from ssah_exp.reporting.report.sections import sections
from ssah_exp.reporting.report.svg import Scale, element, spanning
from ssah_exp.reporting.rows import blocks
from tests.records.synthetic import (
    JUDGE,
    TRAINING_JUDGE,
    arm,
    metrics,
    record,
)
from tests.reporting.pages import pruned, records, trained


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


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("values", [[], [math.inf], [5.0], [0.0], [-5.0], [0.0, 2.0], [1.0, 2.0]])
def test_every_set_of_values_has_a_scale_with_room(values: list[float], log: bool) -> None:
    """One run, all losses alike, a perplexity that overflowed: no reason for no page."""
    scale = spanning(values, 0, 100, log)
    shown = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    assert scale.low < min(shown, default=5.0) <= max(shown, default=5.0) < scale.high
    assert scale.ticks()
    places = [scale(value) for value in shown]
    assert places == sorted(places)
    assert all(0 < place < 100 for place in places)
    assert scale(math.inf) == 100


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.1, 0.3, ["0.10", "0.15", "0.20", "0.25", "0.30"]),
        (0.7, 1.1, ["0.7", "0.8", "0.9", "1.0", "1.1"]),
        (1.1, 1.5, ["1.1", "1.2", "1.3", "1.4", "1.5"]),
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
    assert svg.count("c0 seed") == 6, "two seeds of three arms"
    assert f'cx="{across(65)}"' in svg, "SCU, mean of 60 and 70"
    assert "SCU/pooled/random/2, seed 1: 40.0 [" in svg
    assert ("random", "cross", "random control") in chart.legend
    assert chart.legend[:2] == [
        ("c0", "dot", "mean over seeds, 95% interval"),
        ("c0", "small", "each seed"),
    ]
    assert svg.rindex('class="random"') < svg.rindex("c0 seed"), "what is by chance lies behind"
    for seed in (60, 70):
        assert f'cx="{across(seed)}"' in svg
    (alone,) = blocks([pruned(0)])
    single = forest(alone, f"asr/mean/{JUDGE}")
    assert single is not None
    assert single.legend[0] == ("c0", "dot", "measured, 95% interval")


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


def test_every_kind_of_control_has_a_mark_and_a_colour_and_no_loss_curve() -> None:
    page = render_report(records())
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


def test_marks_keep_the_contrast_of_their_colours() -> None:
    """What is see-through stands out less than its colour, which a browser test measures."""
    style = Path(page.__file__).with_name("templates") / "style.css"
    rules = re.findall(r"(?m)^([^{@]*svg[^{]*)\{([^}]*)\}", style.read_text(encoding="utf-8"))
    assert len(rules) > 10
    assert not [name for name, rule in rules if "opacity" in rule]
    assert 'r="2.5"' in mark("small", 0, 0)
    assert 'r="4.5"' in mark("dot", 0, 0)
