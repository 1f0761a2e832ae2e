"""`ssah-exp units transfer` and `units stability` on folders, as a user calls them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ssah_exp.cache import Cache
from ssah_exp.cli import main
from ssah_exp.config.schema import BudgetsConfig
from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.reporting.figures.drawing import CLASS_COLOURS
from ssah_exp.reporting.published import read_published
from ssah_exp.reporting.transfer_rows import ARTEFACT, became, published_cells
from ssah_exp.units.transfer import BASE_CLASSES, transfer
from tests.tiny import small_anatomy
from tests.units.maps import random_map
from tests.units.test_stability import synthetic

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def maps(tmp_path: Path) -> tuple[str, str]:
    """The first as a run's folder, the second as a UnitMap's."""
    random_map().save(tmp_path / "run" / "unitmap")
    after = random_map(seed=1)
    other = replace(after.provenance, fingerprint="other")
    replace(after, provenance=other).save(tmp_path / "after")
    return str(tmp_path / "run"), str(tmp_path / "after")


def refused(capture: Capture, *arguments: str) -> str:
    capture.readouterr()
    assert main(["units", *arguments]) == 2
    said = capture.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line.removeprefix("ssah-exp: ")


@pytest.mark.parametrize("form", ["markdown", "latex"])
@pytest.mark.parametrize("base", [True, False])
def test_the_printed_table_stands_beside_the_papers(
    maps: tuple[str, str], capsys: Capture, form: str, base: bool
) -> None:
    options = ["--base"] if base else []
    assert main(["units", "transfer", *maps, *options, "--format", form]) == 0
    text = capsys.readouterr().out
    (flow,) = transfer(random_map(), random_map(seed=1), base=base)
    share = 100 * flow.shares("units")
    printed = published_cells(flow)
    assert printed
    for (before, after), paper in printed.items():
        ours = share[flow.before.index(before), flow.after.index(after)]
        (row,) = [
            [cell.strip(" |\\") for cell in line.replace("&", "|").strip("| ").split("|")]
            for line in text.splitlines()
            if [part.strip() for part in line.replace("&", "|").strip("| ").split("|")][:2]
            == [before, after]
        ]
        assert row[2:5] == [f"{ours:.2f}", f"{paper:.2f}", f"{ours - paper:+.2f}"]
    assert "Differs in (ours for the paper's): model: " in text
    assert ("base model into its chat model" in text) is base


def test_csv_and_json_hold_the_same_table(maps: tuple[str, str], capsys: Capture) -> None:
    assert main(["units", "transfer", *maps, "--by", "kind", "--format", "csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table["part"].unique()) == ["all", "head", "neuron"]
    assert len(table) == 3 * 16
    for _, part in table.groupby("part"):
        assert part["share_of_units_pct"].sum() == pytest.approx(100)
        assert part["share_of_parameters_pct"].sum() == pytest.approx(100)
    (flow,) = transfer(random_map(), random_map(seed=1))
    assert table["units"][:16].tolist() == flow.units.ravel().tolist()
    assert main(["units", "transfer", *maps, "--by", "kind", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [cell["units"] for cell in shown["cells"]] == table["units"].tolist()
    assert shown["kept"]["all"]["units"] == pytest.approx(flow.kept())
    assert shown["differences"] == []
    assert shown["before"]["model"] == "tiny/model"


def test_text_shows_our_numbers_beside_the_papers(maps: tuple[str, str], capsys: Capture) -> None:
    assert main(["units", "transfer", *maps, "--by", "layer"]) == 0
    said = capsys.readouterr().out
    (flow,) = transfer(random_map(), random_map(seed=1))
    cell = f"{100 * flow.shares()[0, 2]:.2f} / {100 * flow.shares('parameters')[0, 2]:.2f} [0.85]"
    assert cell in said
    assert said.count("[0.85]") == 1
    moved = became(flow, "SCU", "CU")
    assert moved.value is not None
    assert f"{100 * moved.value:.1f} [" in said
    assert f"Class kept: {100 * flow.kept():.2f} % of units" in said
    assert all(f"layer {layer}" in said for layer in range(4))
    assert "NOTE" not in said


def test_a_base_model_stands_beside_figure_6(maps: tuple[str, str], capsys: Capture) -> None:
    assert main(["units", "transfer", *maps, "--base"]) == 0
    said = capsys.readouterr().out
    for published in ("[67.88]", "[12.06]"):
        assert published in said
    assert "[0.85]" not in said


def test_no_model_is_its_own_base(tmp_path: Path, maps: tuple[str, str], capsys: Capture) -> None:
    """``base`` of a run without alignment is the chat model itself; without --base it may be."""
    random_map(seed=1).save(tmp_path / "again")
    given = ["transfer", maps[0], str(tmp_path / "again")]
    assert "the same weights" in refused(capsys, *given, "--base")
    assert main(["units", *given]) == 0


def test_other_budgets_are_noted(tmp_path: Path, maps: tuple[str, str], capsys: Capture) -> None:
    random_map(budgets=BudgetsConfig(scu=0.3)).save(tmp_path / "other")
    assert main(["units", "transfer", maps[0], str(tmp_path / "other")]) == 0
    assert "NOTE Budgets differ" in capsys.readouterr().out


def test_published_cells_are_the_csvs_and_sum_to_one_model() -> None:
    (flow,) = transfer(random_map(), random_map())
    (base,) = transfer(random_map(), random_map(), base=True)
    cells = published_cells(flow) | published_cells(base)
    assert len(cells) == len(read_published(ARTEFACT)) == 12
    assert cells["SCU", "CU"] == 0.85
    # What is left to 100 % is not printed: SCU that stayed SCU, and rounding.
    assert sum(published_cells(flow).values()) == pytest.approx(99.45)
    assert sum(published_cells(base).values()) == pytest.approx(99.83)
    assert {name for pair in cells for name in pair} <= {*CLASSES, *BASE_CLASSES}
    assert published_cells(transfer(random_map(), random_map(), by="layer")[0]) == {}


def test_the_figure_has_its_numbers_beside_it(
    tmp_path: Path, maps: tuple[str, str], capsys: Capture, drawn: list[Figure]
) -> None:
    picture = tmp_path / "new" / "flow.svg"
    for _ in range(2):
        assert main(["units", "transfer", *maps, "--figure", str(picture)]) == 0
    assert f"wrote {picture}" in capsys.readouterr().out
    assert picture.read_text().startswith("<?xml")
    table = pd.read_csv(picture.with_suffix(".csv"))
    (flow,) = transfer(random_map(), random_map(seed=1))
    assert table["units"].tolist() == flow.units.ravel().tolist()
    ribbons, bars = drawn[0].axes
    # Eight blocks are rectangles; every cell that holds units has a ribbon.
    assert len(ribbons.patches) == 8 + int((flow.units > 0).sum())
    widths = np.array([patch.get_width() for patch in bars.patches]).reshape(4, 4)
    np.testing.assert_allclose(widths.sum(axis=0), 1)
    assert {text.get_text() for text in bars.get_legend().get_texts()} == set(CLASSES)  # type: ignore[union-attr]


def test_colours_of_one_side_differ() -> None:
    for names in (CLASSES, BASE_CLASSES):
        assert len({CLASS_COLOURS[name] for name in names}) == len(names)


def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, maps: tuple[str, str], capsys: Capture
) -> None:
    random_map(anatomy=small_anatomy(layers=4, heads=6, neurons=81)).save(tmp_path / "other")
    line = refused(capsys, "transfer", maps[0], str(tmp_path / "other"))
    assert line.startswith("The architectures of tiny/model and tiny/model differ: neurons 80 and")
    assert "No UnitMap" in refused(capsys, "transfer", maps[0], str(tmp_path / "nowhere"))
    line = refused(capsys, "transfer", *maps, "--figure", str(tmp_path / "flow.wrong"))
    assert line.startswith("Cannot write '.wrong'. Allowed: ")
    assert not list(tmp_path.glob("flow*"))


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """A whole entry of the statistics cache."""
    found = synthetic()

    def compute(folder: Path) -> None:
        found.save(folder)
        (folder / "anatomy.json").write_text(json.dumps(found.anatomy.as_dict()))

    return Cache(tmp_path / "cache").get_or_compute("statistics", {"a": 1}, compute).folder


def test_stability_of_an_entry_says_what_is_missing(entry: Path, capsys: Capture) -> None:
    arguments = ["units", "stability", str(entry), "--resamples", "5"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "nothing can be resampled" in said
    assert "bootstrap resamples" not in said
    assert main([*arguments, "--format", "json", "--figure", str(entry.parent / "a.png")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in shown["comparisons"]] == ["flap", "random"]
    assert shown["comparisons"][0]["jaccard_SCU"] == {"mean": 1.0, "low": None, "high": None}
    assert shown["consensus"] is None
    assert len(pd.read_csv(entry.parent / "a.csv")) == 10


def test_stability_of_neither_run_nor_entry(entry: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "neither a finished run nor" in refused(capsys, "stability", str(tmp_path))
    assert "no effect" in refused(capsys, "stability", str(entry), "--set", "seed=1")
    (entry / "safety.safetensors").write_bytes(b"")
    assert "safety.safetensors has another checksum" in refused(capsys, "stability", str(entry))
    assert entry.is_dir(), "a damaged entry is left where it is"
