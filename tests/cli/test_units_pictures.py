"""`units show --figure`, `units overlap` and `units follow`, as a user calls them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ssah_exp.cli import main
from ssah_exp.records.record import StageRecord
from ssah_exp.records.store import RECORD
from ssah_exp.reporting.figures.drawing import CLASS_COLOURS
from ssah_exp.reporting.figures.track import draw_track
from ssah_exp.reporting.figures.where import draw_where
from ssah_exp.reporting.terminal import Terminal, terminal_table
from ssah_exp.units.classes import UnitClass
from tests.records.synthetic import record
from tests.units.maps import random_map

Capture = pytest.CaptureFixture[str]
TRACK = [
    {"step": 0, "units": np.diag([4, 0, 10, 6]).tolist()},
    {"step": 5, "units": [[3, 0, 1, 0], [0, 0, 0, 0], [1, 0, 9, 0], [0, 0, 2, 4]]},
]


def test_where_units_live(tmp_path: Path, capsys: Capture) -> None:
    units = random_map()
    units.save(tmp_path / "map")
    picture = tmp_path / "where.svg"
    assert main(["units", "show", str(tmp_path / "map"), "--figure", str(picture)]) == 0
    assert f"wrote {picture}" in capsys.readouterr().out
    table = pd.read_csv(picture.with_suffix(".csv"))
    assert table["units"].sum() == units.anatomy.units
    for (layer, kind), here in table.groupby(["layer", "kind"]):
        mask = (units.index.layer == layer) & (units.index.kind == (kind == "neuron"))
        for _, row in here.iterrows():
            count = int((mask & units.select(UnitClass[row["class"]])).sum())
            assert row["units"] == count
            assert row["of_layer_pct"] == pytest.approx(100 * count / mask.sum())
    assert table.groupby("class")["of_class_pct"].sum().tolist() == pytest.approx([100] * 4)


def test_layers_are_stacked_by_class_with_the_rare_one_at_the_bottom_and_counted_beside(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    units = random_map()
    rows = pd.read_csv(draw_where(units, tmp_path / "where.svg")).set_index(["kind", "class"])
    for at, kind in enumerate(("head", "neuron")):
        stacked, rare = drawn[0].axes[2 * at : 2 * at + 2]
        below = np.zeros(units.anatomy.layers)
        for bars, name in zip(stacked.containers, ("SCU", "UCU", "RU", "CU"), strict=True):
            shares = rows.loc[(kind, name), "of_layer_pct"].to_numpy()
            assert bars.get_label() == name
            assert to_hex(bars[0].get_facecolor()) == CLASS_COLOURS[name].lower()
            assert [bar.get_y() for bar in bars] == pytest.approx(below)
            assert [bar.get_height() for bar in bars] == pytest.approx(shares)
            below += shares
        assert below == pytest.approx(100)
        counts = rows.loc[(kind, "SCU"), "units"].tolist()
        assert [bar.get_height() for bar in rare.containers[0]] == counts
        assert rare.get_title() == f"SCU: {sum(counts)} {kind}s"
        layer = units.anatomy.layers
        assert stacked.get_title() == f"{kind}s, {rows.loc[kind, 'units'].sum() // layer} a layer"


def test_a_panel_of_a_followed_arm_shows_what_a_class_kept_and_above_it_what_it_lost(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    draw_track(TRACK, "full", tmp_path / "flow.svg")
    panels = dict(zip(("SCU", "UCU", "CU", "RU"), drawn[0].axes, strict=True))
    units = {name: axes.get_title() for name, axes in panels.items()}
    assert units == {
        name: f"{name}, {count} units" for name, count in zip(panels, (4, 0, 10, 6), strict=True)
    }
    (kept,) = panels["SCU"].lines
    assert kept.get_xydata().tolist() == [[0, 100], [5, 75]]
    bands = panels["CU"].collections
    assert [band.get_label() for band in bands] == ["now CU", "now SCU", "now UCU", "now RU"]
    for band, name, ends in zip(
        bands, ("CU", "SCU", "UCU", "RU"), ((0, 90), (90, 100), (100, 100), (100, 100)), strict=True
    ):
        last = [y for x, y in band.get_paths()[0].vertices if x == 5]
        assert (min(last), max(last)) == pytest.approx(ends)
        assert to_hex(band.get_facecolor()[0]) == CLASS_COLOURS[name].lower()


def test_a_mark_at_the_end_of_the_scale_is_drawn_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps of the same class overlap by 1, where the axes would cut the mark in halves."""
    figures: list[Figure] = []
    kept = lambda figure, path, numbers: figures.append(figure) or path  # noqa: E731
    monkeypatch.setattr("ssah_exp.reporting.figures.overlap.save_figure", kept)
    random_map().save(tmp_path / "map")
    maps = [f"{name}={tmp_path / 'map'}" for name in "ab"]
    assert main(["units", "overlap", *maps, "--figure", str(tmp_path / "overlap.svg")]) == 0
    low, high = figures[0].axes[0].get_xlim()
    assert low < 0
    assert high > 1


def test_names_of_maps_do_not_speak_to_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    units = random_map()
    speaking = replace(units.provenance, model="\x1b]0;title\x07a")
    replace(units, provenance=speaking).save(tmp_path / "map")
    for command in (["show"], ["transfer", str(tmp_path / "map")]):
        assert main(["units", *command, str(tmp_path / "map")]) == 0
        said = capsys.readouterr().out
        assert "]0;titlea" in said
        assert not set("\x1b\x07") & set(said)


def test_cells_and_titles_do_not_speak_to_the_terminal() -> None:
    table = terminal_table("\x1b[1mabove\x07", ("na\x9bme",))
    table.add_row("a\rb")
    terminal = Terminal(file=io.StringIO(), width=40)
    with terminal.capture() as printed:
        terminal.print(table)
        terminal.print("line\x08")
    assert "[1mabove\n" in printed.get()
    assert " ab " in printed.get()
    assert not set("\x1b\x07\x9b\r\x08") & set(printed.get())


def test_overlap_in_every_format(tmp_path: Path, capsys: Capture) -> None:
    for seed, name in enumerate(("a", "b")):
        random_map(seed=seed).save(tmp_path / name)
    first, second = str(tmp_path / "a"), f"other={tmp_path / 'b'}"
    arguments = ["units", "overlap", first, second, "--draws", "100"]
    picture = tmp_path / "overlap.svg"
    assert main([*arguments, "--format", "csv", "--figure", str(picture)]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table.loc[0, ["first", "second"]].tolist() == ["a", "other"]
    # The file beside a picture writes 0.0 as 0.
    beside = pd.read_csv(picture.with_suffix(".csv"))
    pd.testing.assert_frame_equal(table, beside, check_dtype=False)
    assert main([*arguments, "--class", "RU", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["class"] == "RU"
    assert 0 < shown["pairs"][0]["jaccard"] < 1
    assert main(arguments) == 0
    assert "Jaccard overlap of SCU" in capsys.readouterr().out
    assert main(["units", "overlap", first, first]) == 2
    assert "Two UnitMaps are called 'a'" in capsys.readouterr().err
    assert main(["units", "overlap", first]) == 2


def test_following_an_arm(tmp_path: Path, capsys: Capture) -> None:
    made = record()
    arms = [
        made.arms[0],
        replace(made.arms[1], name="full", training={"track": TRACK}),
        # As earlier versions wrote it.
        replace(made.arms[2], name="frozen", training={"track": TRACK[:1], "track_overhead": 0.5}),
    ]
    stages = [
        *made.stages,
        StageRecord("train full", "0" * 24, True, 1.0, {"track_overhead": 0.25}),
    ]
    (tmp_path / RECORD).write_text(replace(made, arms=arms, stages=stages).to_json())
    picture = tmp_path / "flow.svg"
    arguments = ["units", "follow", str(tmp_path)]
    assert main([*arguments, "--format", "csv", "--figure", str(picture)]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert picture.is_file()
    # The file beside a picture writes 0.0 as 0.
    beside = pd.read_csv(picture.with_suffix(".csv"))
    pd.testing.assert_frame_equal(table, beside, check_dtype=False)
    moved = table.set_index(["step", "from", "to"])
    assert moved.loc[(5, "SCU", "CU"), "of_before_pct"] == 25
    assert moved.loc[(5, "RU", "RU"), "units"] == 4
    assert moved.loc[(5, "UCU", "UCU")].isna()["of_before_pct"], "an empty class is a gap"
    assert main([*arguments, "--arm", "frozen", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["track"], shown["overhead"]) == (TRACK[:1], 0.5)
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "75.0" in said
    assert "Looking took 25.0 % of the process time of the rest." in said
    assert main([*arguments, "--arm", "frosen"]) == 2
    assert "Did you mean 'frozen'" in capsys.readouterr().err
    (tmp_path / RECORD).write_text(made.to_json())
    assert main(arguments) == 2
    assert "training.track.every" in capsys.readouterr().err
