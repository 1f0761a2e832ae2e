"""One style for every figure: same bytes, text as text, nothing of the user's own settings."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import pandas as pd
import pytest

import ssah_exp.reporting
from ssah_exp.errors import ConfigError
from ssah_exp.reporting.figures.drawing import (
    CLASS_COLOURS,
    CONTROL_COLOURS,
    GREY,
    MODEL_COLOURS,
    PALETTE,
    SIDE_COLOURS,
    check_picture,
    log_where_wide,
    new_figure,
    save_figure,
    save_numbers,
    styled,
    units_table,
)
from tests.reporting.contrasts import contrast

NUMBERS = pd.DataFrame({"x": [0, 1], "y": [0.25, None]})


@styled()
def draw(path: Path) -> Path:
    figure = new_figure(3.0, 2.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], label="a line")
    axes.fill_between([0, 1], [0, 0], [1, 2], alpha=0.2)
    axes.legend()
    return save_figure(figure, path, NUMBERS)


def test_names_beside_a_figure_are_no_formulas(tmp_path: Path) -> None:
    numbers = pd.DataFrame({"arm": ["=cmd()", "-"], "value": [-0.5, 1.0]})
    table = save_numbers(tmp_path / "figure.csv", numbers)
    assert table.read_text(encoding="utf-8") == "arm,value\n'=cmd(),-0.5\n-,1\n"


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_numbers_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    draw(first)
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": "other"}):
        draw(second)
        assert mpl.rcParams["font.size"] == 30, "the user's settings are back"
    assert first.read_bytes() == second.read_bytes()


def test_text_stays_text(tmp_path: Path) -> None:
    draw(tmp_path / "a.svg")
    assert ">a line</text>" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert mpl.rcParams["svg.fonttype"] == "path", "outside it is matplotlib's own"


NAMED = r"$\frac$ for \$5"


@styled()
def draw_named(path: Path) -> None:
    figure = new_figure(5.0, 3.0)
    axes = figure.subplots()
    axes.plot([1, 2], [1, 1e8], label=f"{NAMED} label")
    axes.set_xticks([1, 2], [f"{NAMED} tick", "plain"])
    axes.set_ylim(1, 1e8)
    log_where_wide(axes)
    axes.annotate(f"{NAMED} note", (1, 10))
    axes.set(title=f"{NAMED} title", ylabel=f"{NAMED} axis")
    figure.suptitle(f"{NAMED} above")
    figure.legend(title=f"{NAMED} legend")
    save_figure(figure, path, NUMBERS)


def test_dollar_signs_in_names_are_no_mathematics(tmp_path: Path) -> None:
    draw_named(tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for place in ("label", "tick", "note", "title", "axis", "above", "legend"):
        assert f">{NAMED} {place}</text>" in drawn
    assert "<!-- $\\mathdefault{10^{4}}$ -->" in drawn, "above what was drawn of it"
    assert "mathdefault{10^{4}}$</text>" not in drawn


def test_numbers_lie_beside_and_gaps_stay_gaps(tmp_path: Path) -> None:
    assert draw(tmp_path / "new" / "a.svg") == tmp_path / "new" / "a.csv"
    assert (tmp_path / "new" / "a.csv").read_text(encoding="utf-8") == "x,y\n0,0.25\n1,\n"


@pytest.mark.parametrize(
    ("ends", "numbers"),
    [
        ((68, 190), {"100", "150"}),
        ((30, 3000), {"50", "100", "200", "500", "1000", "2000"}),
        ((35, 48), {"40", "45"}),
        ((32, 800_000), {"50", "1000", "20000", "500000"}),
        ((1, 1e8), {"$\\mathdefault{10^{4}}$"}),
    ],
)
def test_a_wide_axis_has_numbers_to_read_values_off(
    ends: tuple[float, float], numbers: set[str]
) -> None:
    """One power of ten within the range leaves a reader nothing to compare with."""
    axes = new_figure(3.0, 2.0).subplots()
    axes.set_ylim(*ends)
    log_where_wide(axes)
    axes.figure.draw_without_rendering()
    shown = {label.get_text() for label in axes.get_yticklabels()}
    assert numbers <= shown, shown
    assert (axes.get_yscale() == "log") == (ends[1] > 2 * ends[0])


def test_an_unknown_suffix_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot write '\.doc'.*svg"):
        draw(tmp_path / "a.doc")
    with pytest.raises(ConfigError, match=r"Cannot write '\.pgf'"):  # it would take TeX
        draw(tmp_path / "a.pgf")
    with pytest.raises(ConfigError, match=r"a' has no suffix .*, e\.g\. a\.svg"):
        draw(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_suffix_in_capitals_is_that_suffix(tmp_path: Path) -> None:
    for _ in range(2):  # its own table is not in its way
        draw(tmp_path / "a.SVG")
    draw(tmp_path / "b.svg")
    assert (tmp_path / "a.SVG").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_table_of_units_that_belongs_to_no_picture_is_not_overwritten(tmp_path: Path) -> None:
    picture = tmp_path / "a.svg"
    mine = units_table(picture)
    mine.write_text("mine")
    check_picture(picture)
    with pytest.raises(ConfigError, match=r"a-units\.csv' is there and belongs to no picture"):
        check_picture(picture, mine)
    picture.touch()
    check_picture(picture, mine)


@pytest.mark.parametrize("along", ["x", "y"])
def test_an_axis_without_values_keeps_its_scale(along: Literal["x", "y"]) -> None:
    figure = new_figure(3.0, 2.0)
    axes = figure.subplots()
    axes.plot([0, 1], [float("nan")] * 2)
    log_where_wide(axes, "y")
    assert axes.get_yscale() == "linear"
    empty = new_figure(3.0, 2.0).subplots()
    log_where_wide(empty, along)
    assert {empty.get_xscale(), empty.get_yscale()} == {"linear"}


def test_nothing_is_too_small_for_print() -> None:
    with styled():
        sizes = [
            mpl.rcParams[key]
            for key in ("font.size", "axes.labelsize", "xtick.labelsize", "legend.fontsize")
        ]
    assert min(sizes) >= 7


def test_colours_differ() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert len({CLASS_COLOURS[name] for name in ("SCU", "UCU", "CU", "RU")}) == 4


def test_every_figure_is_made_in_one_place() -> None:
    """``Figure(`` and ``savefig`` stand in drawing.py alone."""
    folder = Path(ssah_exp.reporting.__file__).parent
    makers = {}
    for path in folder.rglob("*.py"):
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        names = {getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls}
        makers[str(path.relative_to(folder))] = names & {"Figure", "savefig"}
    assert makers.pop("figures/drawing.py") == {"Figure", "savefig"}
    assert not any(makers.values())


def test_marks_of_classes_controls_and_models_stand_out_on_white() -> None:
    """WCAG 2 asks 3 to 1 of what must be seen to understand a picture."""
    named = (CLASS_COLOURS, CONTROL_COLOURS, MODEL_COLOURS, SIDE_COLOURS)
    for colour in (GREY, *(colour for colours in named for colour in colours.values())):
        assert contrast(colour, "#FFFFFF") >= 3, colour
