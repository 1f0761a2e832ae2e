"""Growth curves: points, exponents, the picture, and what is extrapolated from them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.bench import growth
from ssah_exp.bench.extrapolating import by_curves, common_point
from ssah_exp.bench.fits import power_law
from ssah_exp.bench.scaling import SHAPES
from ssah_exp.cli import main
from ssah_exp.commands import bench
from ssah_exp.reporting.figures.growth import draw_growth

Capture = pytest.CaptureFixture[str]
IDENTIFIED = {"tokens": (64, 128, 192), "layers": (1, 2, 3), "width": (32, 64, 96)}
CLASSIFIED = {"layers": (1, 2, 3), "width": (128, 256, 384), "thresholds": (1, 2, 3)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "IDENTIFIED", IDENTIFIED)
    monkeypatch.setattr(growth, "CLASSIFIED", CLASSIFIED)


@pytest.mark.slow  # it measures for ten seconds
@pytest.mark.usefixtures("small")
def test_every_axis_has_points_exponents_and_a_picture(capsys: Capture, tmp_path: Path) -> None:
    picture = tmp_path / "growth.svg"
    asked = ["bench", "growth", "--device", "cpu", "--repeats", "2", "--figure", str(picture)]
    assert main([*asked, "--format", "json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["clock"] == "processor"
    for task, axes in (("identification", IDENTIFIED), ("classification", CLASSIFIED)):
        assert set(report["curves"][task]) == set(axes)
        for axis, sizes in axes.items():
            curve = report["curves"][task][axis]
            assert tuple(point[axis] for point in curve["points"]) == sizes
            assert all(len(point["seconds"]["values"]) == 2 for point in curve["points"])
            assert curve["exponents"]["seconds"]["points"] == 3
    identified = report["curves"]["identification"]
    # The accumulators are counted, not timed: as many as channels, whatever the tokens.
    state = {axis: identified[axis]["exponents"]["state_bytes"] for axis in IDENTIFIED}
    assert state["layers"]["exponent"] == pytest.approx(1)
    assert [state["tokens"][end] for end in ("exponent", "high")] == pytest.approx([0, 0])
    point = identified["layers"]["points"][0]
    assert point["state_bytes"] == 32 * point["channels"]
    assert picture.read_text().startswith("<?xml")
    assert "extra_seconds" in picture.with_suffix(".csv").read_text()


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: object) -> dict[str, Any]:
        raise AssertionError("measured all the same")

    monkeypatch.setattr(bench, "bench_growth", measured)
    assert main(["bench", "growth", "--device", "cpu", "--figure", "growth.sgv"]) == 2
    assert "Cannot write '.sgv'" in capsys.readouterr().err


def test_a_figure_that_the_disk_does_not_take_costs_no_report(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = json.loads(Path("benchmarks/growth.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(bench, "bench_growth", lambda *_: report)
    (tmp_path / "file").touch()
    picture = tmp_path / "file" / "growth.svg"
    asked = ["bench", "growth", "--device", "cpu", "--format", "json", "--figure", str(picture)]
    assert main(asked) == 2
    said = capsys.readouterr()
    assert "a file lies where a folder is needed" in said.err
    assert json.loads(said.out) == report


def test_a_power_is_found_with_its_interval() -> None:
    exact = power_law([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0])
    assert exact is not None
    for name, value in (("exponent", 2), ("low", 2), ("high", 2), ("factor", 3), ("last", 2)):
        assert exact[name] == pytest.approx(value)
    # By hand: slopes 1 and 3 give 2; one degree of freedom, residuals 1/3 log 2 x (1, -2, 1).
    rough = power_law([1, 2, 4], [1.0, 2.0, 16.0])
    assert rough is not None
    assert (rough["exponent"], rough["last"]) == (pytest.approx(2), pytest.approx(3))
    half = 12.7062 * math.sqrt(6 / 9 / 2)
    assert rough["high"] - 2 == pytest.approx(half, rel=1e-4)
    assert power_law([1, 2, 4], [1.0, 0.0, 1.0]) is None


def curves() -> dict[str, Any]:
    """Time = tokens * layers * width^2, statistics = tokens * layers * channels; no noise."""

    def point(tokens: int, layers: int, width: int) -> dict[str, Any]:
        weights, channels = 4 * width**2, 2 * width
        return {
            "tokens": tokens,
            "layers": layers,
            "width": width,
            "block_parameters": layers * weights,
            "channels": layers * channels,
            "bare_seconds": {"median": 1e-9 * tokens * layers * weights},
            "extra_seconds": {"median": 1e-9 * tokens * layers * channels},
        }

    points = {
        "tokens": [point(t, 2, 8) for t in (32, 64, 128)],
        "layers": [point(64, n, 8) for n in (1, 2, 4)],
        "width": [point(64, 2, w) for w in (4, 8, 16)],
    }
    names = ("bare_seconds", "extra_seconds")
    return {
        axis: {
            "points": some,
            "exponents": {
                name: power_law([p[axis] for p in some], [p[name]["median"] for p in some])
                for name in names
            },
        }
        for axis, some in points.items()
    }


def test_curves_without_noise_are_continued_exactly() -> None:
    shape, found = SHAPES["70B"], curves()
    assert [common_point(found)[axis] for axis in ("tokens", "layers", "width")] == [64, 2, 8]
    bare = by_curves(found, "bare_seconds", shape, 1000)
    assert bare.seconds == pytest.approx(1e-9 * 1000 * shape.block_parameters)
    assert bare.low == pytest.approx(bare.high)
    extra = by_curves(found, "extra_seconds", shape, 1000)
    assert extra.seconds == pytest.approx(1e-9 * 1000 * shape.channels)


def test_the_page_holds_what_the_committed_curves_give(capsys: Capture) -> None:
    assert main(["scaling", "--growth", "benchmarks/growth.json"]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed in Path("docs/scaling.md").read_text(encoding="utf-8")


def test_other_reports_are_refused(capsys: Capture, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"bench": "identify"}')
    assert main(["scaling", "--growth", str(other)]) == 2
    assert "no report of `ssah-exp bench growth" in capsys.readouterr().err


def test_curves_that_cannot_be_continued_are_one_line(capsys: Capture, tmp_path: Path) -> None:
    committed = Path("benchmarks/growth.json").read_text(encoding="utf-8")
    still, bare, apart = (json.loads(committed) for _ in range(3))
    still["curves"]["identification"]["width"]["exponents"]["extra_seconds"] = None
    del bare["curves"]["identification"]["layers"]
    del apart["curves"]["identification"]["tokens"]["points"][1]
    for report, why in (
        (still, "The curve of width has no exponent of extra_seconds"),
        (bare, "lacks something of a report ('layers')"),
        (apart, "no point in common"),
    ):
        other = tmp_path / "growth.json"
        other.write_text(json.dumps(report))
        assert main(["scaling", "--growth", str(other)]) == 2
        assert why in capsys.readouterr().err


def test_what_does_not_grow_is_drawn_without_a_sign(tmp_path: Path) -> None:
    report = json.loads(Path("benchmarks/growth.json").read_text(encoding="utf-8"))
    draw_growth(report, tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text(encoding="utf-8")
    assert "peak 0.00" in drawn
    assert "-0.00" not in drawn
    assert "peak -0.12" in drawn
