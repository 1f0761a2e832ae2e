"""Classes before their controls: every draw is where its number is."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from ssah_exp.cli import main
from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.evaluation.intervals import Resampling, perplexity, rate
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.artefacts import FIGURES
from ssah_exp.reporting.drawn_asr import DrawnAsr
from ssah_exp.reporting.figures.drawing import CLASS_COLOURS, CONTROL_COLOURS, CONTROL_MARKERS
from ssah_exp.reporting.figures.names import shortened
from ssah_exp.reporting.figures.null import draw_null, null_rows
from tests.records.synthetic import arm, arms, metrics, record
from tests.thinning import thinned

RECORDS = [record(0), record(1)]


def test_every_arm_is_a_row_with_its_own_numbers() -> None:
    rows = null_rows(RECORDS)
    asr = rows[rows["metric"] == "asr"]
    assert len(asr) == len(rows) / 2 == sum(len(item.arms) for item in RECORDS)
    draws = asr[(asr["what"] == "random") & (asr["seed"] == 0)]
    assert draws["draw"].tolist() == [0, 1, 2]
    judge = RECORDS[0].config["evaluation"]["primary_judge"]
    wanted = [
        100 * arm.metrics[f"asr/mean/{judge}"].value  # type: ignore[operator]
        for arm in RECORDS[0].arms
        if arm.control == "random"
    ]
    assert draws["value"].tolist() == pytest.approx(wanted)
    assert set(draws["class"]) == {"SCU"}
    perplexity = rows[rows["metric"] == "perplexity"]
    assert perplexity["value"].tolist() == pytest.approx(
        [arm.metrics["perplexity"].value for item in RECORDS for arm in item.arms]
    )


def test_a_class_that_was_also_set_to_something_else_stands_there_once() -> None:
    """Other fills of the same units would pass for more seeds of it; Wilson's ends by hand."""
    made = record(0, arms=[*arms(), arm("SCU/zero", 0.9), arm("SCU/zero/random/0", 0.8)])
    rows = null_rows([made])
    asr = rows[(rows["metric"] == "asr") & (rows["class"] == "SCU")]
    assert asr["value"].tolist() == pytest.approx([60, 10, 20, 30])
    assert asr["what"].tolist() == ["class", "random", "random", "random"]
    itself = asr.iloc[0]
    assert (itself["low"], itself["high"]) == pytest.approx((50.2, 69.1), abs=0.05)
    assert itself["n"] == 100


@pytest.mark.parametrize(
    ("given", "style", "said"),
    [
        (["raw"], None, "raw prompts"),
        (["raw", "chat"], None, "mean of the prompt styles"),
        (["raw", "chat"], "chat", "chat prompts"),
    ],
)
def test_an_axis_names_its_prompts(given: list[str], style: str | None, said: str) -> None:
    assert DrawnAsr(style).label({"harmful_styles": given}) == f"ASR %, {said}"


def test_the_picture_has_its_numbers_beside_it(tmp_path: Path) -> None:
    table = draw_null(RECORDS, tmp_path / "new" / "null.svg", DrawnAsr("raw"))
    assert (tmp_path / "new" / "null.svg").read_text().startswith("<?xml")
    pd.testing.assert_frame_equal(
        pd.read_csv(table), null_rows(RECORDS, DrawnAsr("raw")), check_dtype=False
    )


def test_an_infinite_perplexity_is_drawn_and_named(tmp_path: Path) -> None:
    losses = [600.0, 700.0, 900.0]  # the interval is finite below and infinite above
    destroyed = {**metrics(0.6), "perplexity": perplexity(losses, Resampling(0.95, 100))}
    made = record(0, arms=[arm("aligned", 0.1), arm("SCU/pooled", 0.6, metrics=destroyed)])
    table = draw_null([made], tmp_path / "null.svg")
    assert "highest marks: infinite" in (tmp_path / "null.svg").read_text()
    assert pd.read_csv(table)["value"].max() == math.inf
    draw_null(RECORDS, tmp_path / "null.svg")
    assert "infinite" not in (tmp_path / "null.svg").read_text()


def test_an_arm_that_was_not_measured_so_is_a_gap(tmp_path: Path) -> None:
    less = {name: found for name, found in metrics(0.6).items() if name != "perplexity"}
    made = record(0, arms=[arm("aligned", 0.1), arm("SCU/pooled", 0.6, metrics=less)])
    rows = pd.read_csv(draw_null([made], tmp_path / "null.svg")).set_index(["class", "metric"])
    assert math.isnan(rows.loc[("SCU", "perplexity"), "value"])
    assert rows.loc[("SCU", "perplexity"), "n"] == 0
    assert rows["value"].notna().sum() == 3


def test_perplexities_that_no_arm_has_are_left_empty(tmp_path: Path) -> None:
    """Logits that overflowed in every arm: ASR has its panel all the same."""
    lost = perplexity([math.nan] * 3, Resampling(0.95, 100))
    assert lost.value is None
    arms = [
        arm(name, 0.1, metrics={**metrics(0.1), "perplexity": lost})
        for name in ("aligned", "SCU/pooled")
    ]
    table = draw_null([record(0, arms=arms)], tmp_path / "null.svg")
    rows = pd.read_csv(table)
    assert rows.loc[rows["metric"] == "perplexity", "value"].isna().all()
    assert rows.loc[rows["metric"] == "asr", "value"].notna().all()


def test_the_line_of_the_dense_model_is_the_mean_that_tables_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Geometric for perplexities; of 10 and 1000 it is 100."""
    lines: list[float] = []
    monkeypatch.setattr(Axes, "axhline", lambda _, y, **kwargs: lines.append(y))
    seeds = [
        record(seed, arms=[arm("aligned", asr, metrics={**metrics(asr), "perplexity": text})])
        for seed, asr, text in (
            (0, 0.1, perplexity([math.log(10)] * 3, Resampling(0.95, 100))),
            (1, 0.3, perplexity([math.log(1000)] * 3, Resampling(0.95, 100))),
        )
    ]
    draw_null(seeds, tmp_path / "null.svg")
    rows = null_rows(seeds)
    assert lines == pytest.approx([rows.loc[rows["metric"] == "asr", "value"].mean(), 100])


@pytest.mark.parametrize(
    ("fill", "said"),
    [("pooled", "params, 2 seeds"), ("utility", "params, set to their utility mean, 2 seeds")],
)
def test_the_title_says_what_pruned_units_are_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: str, said: str
) -> None:
    """Figures of the same units set to something else would be titled alike."""
    titles: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda _, text: titles.append(text))
    set_so = [
        replace(
            item,
            config={
                **item.config,
                "ablation": {**item.config["ablation"], "primary_fill": fill},
            },
            arms=[replace(arm, fill=fill if arm.fill else None) for arm in item.arms],
        )
        for item in RECORDS
    ]
    draw_null(set_so, tmp_path / "null.svg")
    config = RECORDS[0].config
    model, data = config["model"]["name"], config["data"]["name"]
    assert titles == [f"{model}\n{data}, SCU budget 1 % of {said}"]


def test_another_judge_may_be_drawn(tmp_path: Path) -> None:
    made = [
        replace(
            item,
            arms=[
                replace(own, metrics={**own.metrics, "asr/raw/second": rate(at + 1, 20, 0.95)})
                for at, own in enumerate(item.arms)
            ],
        )
        for item in RECORDS
    ]
    second = DrawnAsr("raw", "second")
    rows = pd.read_csv(draw_null(made, tmp_path / "null.svg", second))
    drawn = rows[rows["metric"] == "asr"]
    wanted = [5.0 * (at + 1) for item in made for at in range(len(item.arms))]
    assert drawn["value"].tolist() == pytest.approx(wanted)
    assert drawn["n"].eq(20).all()
    assert "ASR %, raw prompts, by second" in (tmp_path / "null.svg").read_text()
    with pytest.raises(ConfigError, match=r"judge 'secnd' in .* Did you mean 'second'"):
        draw_null(made, tmp_path / "a.svg", DrawnAsr("raw", "secnd"))


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="style 'chatt'"):
        draw_null(RECORDS, tmp_path / "a.svg", DrawnAsr("chatt"))
    with pytest.raises(StoreError, match="no records"):
        draw_null([], tmp_path / "a.svg")
    with pytest.raises(ConfigError, match="Cannot write"):
        draw_null(RECORDS, tmp_path / "a.wrong")
    assert not list(tmp_path.iterdir())


def test_several_pictures_are_told_apart_where_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RECORDS[0].config
    named = {**config, "model": {**config["model"], "name": "other"}}
    for item in (*RECORDS, replace(RECORDS[0], config=named, run_id="0123456789ab")):
        RecordStore(tmp_path).write(item)
    command = ["figure", "table1_pruning", "--root", str(tmp_path)]
    assert main([*command, "--out", str(tmp_path / "null.svg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    ours = ", ".join(item.run_id for item in RECORDS)
    wanted = {"other, run 0123456789ab", f"{config['model']['name']}, runs {ours}"}
    assert {line.split(": ", 1)[1] for line in lines} == wanted


def test_records_come_from_runs_from_a_folder_or_from_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for item in RECORDS:
        RecordStore(tmp_path).write(item)
        (kept / f"{item.seed}.json").write_text(item.to_json())
    pictures = []
    runs, folder = ["--root", str(tmp_path)], ["--records", str(kept)]
    for at, place in enumerate((runs, folder, [*runs, *folder])):  # a run counts once
        out = tmp_path / f"{at}.svg"
        assert main(["figure", "table1_pruning", *place, "--out", str(out)]) == 0
        pictures.append(out.with_suffix(".csv").read_text())
    assert pictures[0] == pictures[1] == pictures[2]
    assert main(["figure", "table2_freezing", "--records", str(kept)]) == 2
    assert main(["figure", "table1_pruning", "--records", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "No record of table2_freezing" in said
    assert "No folder" in said


def test_sets_of_the_users_own_stand_beside_the_classes_and_share_a_line_of_the_legend(
    tmp_path: Path,
) -> None:
    names = ("highest_by_safety", "heads_of_late_blocks")
    sets = [arm(f"{name}/pooled", 0.4) for name in names]
    made = replace(record(0), arms=[*arms(), *sets])
    picture = tmp_path / "sets.svg"
    numbers = pd.read_csv(draw_null([made], picture))
    assert set(names) <= set(numbers["class"])
    text = picture.read_text(encoding="utf-8")
    assert all(name in text for name in names)
    assert text.count("sets by name, a point a seed") == 1


@pytest.mark.parametrize(
    ("count", "letters", "lying"),
    thinned([(26, 64, True), (26, 30, True), (13, 30, True), (12, 6, False)]),
)
def test_many_sets_lie_below_one_another_and_no_name_covers_another(
    count: int, letters: int, lying: bool, tmp_path: Path, drawn: list[Figure]
) -> None:
    names = [f"{'heads_' * 11}"[: letters - 3] + f"_{number:02d}" for number in range(count)]
    sets = [
        arm(f"{name}/pooled{control}", (number + 1) / (2 * count))
        for number, name in enumerate(names)
        for control in ("", *(f"/random/{draw}" for draw in range(5)))
    ]
    numbers = draw_null([record(0, arms=[*arms()[:2], *sets])], tmp_path / "sets.png")
    (figure,) = drawn
    left, right = figure.axes
    axis = left.yaxis if lying else left.xaxis
    labels = [label for label in axis.get_ticklabels() if label.get_text()]
    assert len({label.get_text() for label in labels}) == count
    assert all(len(label.get_text()) <= 31 for label in labels)
    assert all(
        label.get_text()[-3:] == name[-3:] for label, name in zip(labels, names, strict=True)
    )
    if lying:
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
        assert boxes[0].y0 > boxes[-1].y1, "from the top, in the order of the records"
        assert left.get_window_extent().width > figure.bbox.width / 4
        assert left.get_xlim() == (-3, 103)
        assert right.get_xlabel() == "perplexity"
    rows = pd.read_csv(numbers)
    wanted = rows[(rows["metric"] == "asr") & (rows["what"] == "class")].set_index("class")["value"]
    points = [found[0] for found in left.containers]
    values = [float((p.get_xdata() if lying else p.get_ydata())[0]) for p in points]
    assert values == pytest.approx(wanted[names].tolist())


def test_names_that_only_their_middle_tells_apart_are_written_in_full() -> None:
    ends, middles = "a" * 20, ("x", "y")
    names = [f"{ends}{middle}{ends}" for middle in middles]
    assert shortened(names) == names
    assert shortened([names[0], "short"]) == [f"{'a' * 15}…{'a' * 15}", "short"]


def test_an_infinite_perplexity_among_many_sets_is_named_where_it_is(tmp_path: Path) -> None:
    destroyed = {**metrics(0.6), "perplexity": perplexity([900.0] * 3, Resampling(0.95, 100))}
    sets = [arm(f"set_{number}/pooled", 0.4) for number in range(13)]
    made = record(0, arms=[*arms(), *sets, arm("lost/pooled", 0.6, metrics=destroyed)])
    draw_null([made], tmp_path / "null.svg")
    assert "rightmost marks: infinite" in (tmp_path / "null.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("many", [1, 13])
def test_every_kind_of_control_has_room_and_a_mark_of_its_own(
    tmp_path: Path, drawn: list[Figure], many: int
) -> None:
    sets = [f"set_{number}" for number in range(many)]
    names = [f"{name}/pooled" for name in sets]
    draws = [f"{name}/{kind}/{at}" for name in names for kind in CONTROLS for at in range(5)]
    made = record(0, arms=[arm(name, 0.4) for name in ("aligned", *names, *draws)])
    draw_null([made], tmp_path / "null.svg")
    lying = many > 12
    for axes in drawn[0].axes:
        marks = {line.get_label(): line for line in axes.lines if "draw by" in line.get_label()}
        assert {name.split(",")[0] for name in marks} == set(CONTROLS)
        assert {line.get_marker() for line in marks.values()} == {
            CONTROL_MARKERS[kind] for kind in CONTROLS
        }
        last = max(axes.get_ylim() if lying else axes.get_xlim())
        furthest = many - 1 + 0.36 + 0.065  # half a box behind the middle of the last draws
        assert last - furthest > 0.1


@pytest.mark.parametrize("more", [0, 11])
def test_every_draw_box_and_interval_is_where_its_number_is(
    tmp_path: Path, unsaved: list[Figure], more: int
) -> None:
    """Standing, and lying as thirteen sets do."""
    draws = {"SCU": {"random": [5, 10, 15, 20, 30], "matched": [40], "shifted": [50]}}
    draws["RU"] = {"random": [70], "normed": [80]}
    names = {
        **{"aligned": 10, "unaligned": 90, "SCU/pooled": 60, "RU/pooled": 20},
        **{
            f"{name}/pooled/{kind}/{at}": value
            for name, kinds in draws.items()
            for kind, values in kinds.items()
            for at, value in enumerate(values)
        },
        **{f"set_{at}/pooled": 40 for at in range(more)},
    }
    first = record(0, arms=[arm(name, value / 100) for name, value in names.items()])
    records = [first, record(1, arms=[arm("aligned", 0.1), arm("SCU/pooled", 0.8)])]
    draw_null(records, tmp_path / "null.svg")
    left, right = unsaved[0].axes
    along, other = (0, 1) if more else (1, 0)  # the axis of the values
    label = type(left).get_xlabel if more else type(left).get_ylabel
    assert (label(left), label(right)) == ("ASR %, mean of the prompt styles", "perplexity")
    assert (left.get_xlim() if more else left.get_ylim()) == (-3, 103)

    kinds = {marker: kind for kind, marker in CONTROL_MARKERS.items() if kind}
    found: dict[str, dict[str, list[float]]] = {"SCU": {}, "RU": {}}
    for line in (line for line in left.lines if line.get_marker() in kinds):
        points = line.get_xydata()
        name = ("SCU", "RU")[round(points[:, other].mean())]
        found[name][kinds[line.get_marker()]] = points[:, along].tolist()
        assert line.get_color() == CONTROL_COLOURS[kinds[line.get_marker()]]
    assert found == {
        name: {kind: pytest.approx(values) for kind, values in of_class.items()}
        for name, of_class in draws.items()
    }
    (box,) = (item for item in left.patches if isinstance(item, PathPatch))
    corners = box.get_path().vertices  # five draws are enough for quartiles, one is not
    assert (corners[:, along].min(), corners[:, along].max()) == pytest.approx((10, 20))
    assert (corners[:, other].min() + corners[:, other].max()) / 2 == pytest.approx(-0.2)

    rows = null_rows(records)
    ours = rows[(rows["metric"] == "asr") & (rows["class"] == "SCU") & (rows["what"] == "class")]
    points, _, (bars,) = left.containers[0]
    assert points.get_color() == CLASS_COLOURS["SCU"]
    assert list(points.get_xydata()[:, along]) == pytest.approx([60, 80])
    ends = [tuple(sorted(item[:, along])) for item in bars.get_segments()]
    assert ends == [pytest.approx(both) for both in zip(ours["low"], ours["high"], strict=True)]
    dense = {
        line.get_label(): (set(line.get_xydata()[:, along]), line.get_linestyle())
        for line in left.lines
        if "nothing pruned" in line.get_label()
    }
    names_of_lines = [f"{name}, nothing pruned" for name in ("aligned", "unaligned")]
    assert dense == dict(zip(names_of_lines, [({10}, "-"), ({90}, ":")], strict=True))


def judged(made: RunRecord, judge: str, style: str = "mean") -> RunRecord:
    asked = {f"asr/{style}/{judge}": rate(1, 20, 0.95)}
    return replace(made, arms=[replace(own, metrics={**own.metrics, **asked}) for own in made.arms])


def test_one_name_of_several_judges_is_not_drawn(tmp_path: Path) -> None:
    made = [
        replace(judged(item, "later"), judges={"later": {"model": item.seed}}, later=("later",))
        for item in RECORDS
    ]
    with pytest.raises(ConfigError, match=r"^later is not the same judge .* differ in model"):
        draw_null(made, tmp_path / "null.svg", DrawnAsr(judge="later"))


@pytest.mark.parametrize("asked", [0, 1])
def test_a_judge_that_was_asked_later_of_one_seed_is_drawn(tmp_path: Path, asked: int) -> None:
    made = [judged(item, "later") if item.seed == asked else item for item in RECORDS]
    rows = pd.read_csv(draw_null(made, tmp_path / "null.svg", DrawnAsr(judge="later")))
    asr = rows[rows["metric"] == "asr"]
    assert set(asr.loc[asr["value"].notna(), "seed"]) == {asked}
    assert set(asr["seed"]) == {0, 1}, "the other's gap is seen"


def test_no_setting_is_drawn_where_one_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RECORDS[0].config
    named = {**config, "model": {**config["model"], "name": "other"}}
    other = replace(RECORDS[1], config=named, run_id="0123456789ab")
    for item in (judged(RECORDS[0], "later"), other):
        RecordStore(tmp_path / "store").write(item)
    command = ["figure", "table1_pruning", "--root", str(tmp_path / "store"), "--judge", "later"]
    assert main([*command, "--out", str(tmp_path / "f.svg")]) == 2
    assert "No ASR by judge 'later'" in capsys.readouterr().err
    assert [place.name for place in tmp_path.iterdir()] == ["store"]


def test_each_picture_comes_with_the_runs_that_it_shows(tmp_path: Path) -> None:
    other = record(0, run_id="other")
    other.config["units"]["samples"] = 16
    pictures = FIGURES["table1_pruning"].draw([*RECORDS, other], tmp_path / "a.svg", DrawnAsr())
    shown = {place.name: [run.run_id for run in runs] for place, runs in pictures}
    assert shown == {"a-0.svg": [run.run_id for run in RECORDS], "a-1.svg": ["other"]}
