"""Pictures of flows, atlases, growth and the probe: each number at its place, under its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.reporting.figures.drawing import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    MODEL_COLOURS,
    SIDE_COLOURS,
)
from ssah_exp.reporting.figures.flow import draw_flow
from ssah_exp.reporting.figures.growth import draw_growth, growth_rows
from ssah_exp.reporting.figures.probe import draw_probe
from ssah_exp.reporting.figures.stability import draw_stability
from ssah_exp.units.agreement import ClassAgreement, Spread
from ssah_exp.units.stability import StabilityAtlas
from ssah_exp.units.transfer import Flow
from tests.reporting.test_machine_text import height, probed
from tests.units.test_stability import SMALL, by_hand


def colour(name: str) -> str:
    return to_hex(CLASS_COLOURS[name])


@pytest.fixture
def flow(tmp_path: Path, unsaved: list[Figure]) -> tuple[Axes, Axes]:
    """Twenty units: of eight in SCU two became CU, of ten in CU one became SCU."""
    units = np.array([[6, 0, 2, 0], [0, 0, 0, 0], [1, 0, 9, 0], [0, 0, 0, 2]])
    made = Flow("all", CLASSES, CLASSES, units, units.astype(float))
    draw_flow(made, ("old", "new"), tmp_path / "flow.svg")
    assert unsaved[0].get_suptitle() == "before: old\nafter: new"
    ribbons, bars = unsaved[0].axes
    return ribbons, bars


def test_ribbons_lead_from_the_class_before_to_the_class_after(flow: tuple[Axes, Axes]) -> None:
    axes, _ = flow
    said = [(item.get_text(), item.get_position()[0] > 0.5) for item in axes.texts[:8]]
    shares = {False: (40, 0, 50, 10), True: (35, 0, 55, 10)}
    assert said == [
        (f"{name}  {share}.0 %", after)
        for after, of_class in shares.items()
        for name, share in zip(CLASSES, of_class, strict=True)
    ]
    blocks = [item for item in axes.patches if isinstance(item, Rectangle)]
    tops = [(round(item.get_x() + item.get_width() / 2), item.get_y()) for item in blocks]
    assert tops == [
        *((0, pytest.approx(top)) for top in (0, -0.45, -0.5, -1.05)),
        *((1, pytest.approx(top)) for top in (0, -0.4, -0.45, -1.05)),
    ]
    assert [-item.get_height() for item in blocks[:4]] == pytest.approx([0.4, 0, 0.5, 0.1])
    assert [to_hex(item.get_facecolor()) for item in blocks] == [*map(colour, CLASSES)] * 2
    found = []
    for ribbon in (item for item in axes.patches if isinstance(item, PathPatch)):
        corners = ribbon.get_path().vertices
        tall = [corners[at][1] - corners[at + 1][1] for at in (3, 7)]
        found.append((to_hex(ribbon.get_facecolor()), corners[0][1], corners[3][1], tall[0]))
        assert corners[0][0] < 0.1
        assert corners[3][0] > 0.9
    assert found == [
        (colour("SCU"), *(pytest.approx(value) for value in (0, 0, 0.3))),
        (colour("SCU"), *(pytest.approx(value) for value in (-0.3, -0.45, 0.1))),
        (colour("CU"), *(pytest.approx(value) for value in (-0.5, -0.3, 0.05))),
        (colour("CU"), *(pytest.approx(value) for value in (-0.55, -0.55, 0.45))),
        (colour("RU"), *(pytest.approx(value) for value in (-1.05, -1.05, 0.1))),
    ]


def test_bars_say_what_became_of_each_class_by_itself(flow: tuple[Axes, Axes]) -> None:
    _, axes = flow
    bars = [item for item in axes.patches if isinstance(item, Rectangle)]
    widths = np.array([bar.get_width() for bar in bars]).reshape(4, 4).T  # (before, after)
    shares = [[0.75, 0, 0.25, 0], [0, 0, 0, 0], [0.1, 0, 0.9, 0], [0, 0, 0, 1]]
    assert widths == pytest.approx(np.array(shares))
    starts = np.array([bar.get_x() for bar in bars]).reshape(4, 4).T
    assert starts == pytest.approx(np.cumsum(shares, axis=1) - shares)
    middles = [bar.get_y() + bar.get_height() / 2 for bar in bars]
    assert middles == pytest.approx([0, 1, 2, 3] * 4)
    assert [to_hex(bar.get_facecolor()) for bar in bars[::4]] == [*map(colour, CLASSES)]
    written = {text.get_text(): text.get_position() for text in axes.texts}
    assert written == {
        "75": pytest.approx((0.375, 0)),
        "10": pytest.approx((0.05, 2)),
        "25": pytest.approx((0.875, 0)),
        "90": pytest.approx((0.55, 2)),
        "100": pytest.approx((0.5, 3)),
    }
    counts = zip(CLASSES, (8, 0, 10, 2), strict=True)
    labels = [f"{name}\n{count} units" for name, count in counts]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == labels
    assert axes.yaxis_inverted(), "the order of the ribbons beside them"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "0",
        "20",
        "40",
        "60",
        "80",
        "100",
    ]
    assert axes.get_xlim() == (0, 1)


def atlas() -> StabilityAtlas:
    """Two comparisons whose numbers tell class, comparison and end apart; one is a single draw."""
    means = {name: number / 10 for number, name in enumerate(CLASS_MARKERS, start=1)}
    many = {name: Spread(mean, mean - 0.02, mean + 0.05) for name, mean in means.items()}
    one = {name: Spread(mean + 0.5, None, None) for name, mean in means.items()}
    one["RU"] = Spread(None, None, None)
    rank = Spread(0.8, 0.6, 0.9)
    found = [ClassAgreement("halves", 3, 20, many, rank)]
    return replace(by_hand(), agreements=[*found, ClassAgreement("subsample 16", 16, 1, one, rank)])


def test_agreement_of_each_class_has_its_interval_and_a_gap_where_it_is_empty(
    tmp_path: Path, unsaved: list[Figure]
) -> None:
    draw_stability(atlas(), SMALL, tmp_path / "a.svg")
    axes = unsaved[0].axes[0]
    assert [item.get_label() for item in axes.containers] == list(CLASS_MARKERS)
    for number, (points, _, (bars,)) in enumerate(axes.containers):
        name, mean = list(CLASS_MARKERS)[number], (number + 1) / 10
        second = np.nan if name == "RU" else mean + 0.5
        assert points.get_ydata() == pytest.approx(np.array([mean, second]), nan_ok=True)
        assert np.round(points.get_xdata()).tolist() == [0, 1]
        assert (points.get_marker(), to_hex(points.get_color())) == (
            CLASS_MARKERS[name],
            colour(name),
        )
        halves, single = bars.get_segments()
        assert tuple(halves[:, 1]) == pytest.approx((mean - 0.02, mean + 0.05))
        assert name == "RU" or tuple(single[:, 1]) == pytest.approx((second, second))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["halves", "n = 16"]
    assert axes.get_ylabel() == "Jaccard overlap of the class"


def test_units_stand_by_rank_beside_the_size_of_the_reference(
    tmp_path: Path, unsaved: list[Figure]
) -> None:
    tables = draw_stability(atlas(), SMALL, tmp_path / "a.svg")
    assert [table.name for table in tables] == ["a.csv", "a-units.csv"]
    _, axes = unsaved[0].axes
    (area,) = axes.collections
    corners = area.get_paths()[0].vertices
    tops = {rank: max(y for x, y in corners if abs(x - rank) <= 0.5) for rank in (1, 6)}
    assert tops[1] == 1
    assert {round(float(y), 9) for _, y in corners} == {1, 0.9, 0.5, 0.4, 0.3, 0}
    lines = {line.get_linestyle(): line for line in axes.lines}
    assert set(lines["--"].get_xdata()) == {3}
    assert set(lines[":"].get_ydata()) == {0.5}
    assert axes.get_xlim() == (0, 6), "of ten units four are never in it"
    assert axes.get_xlabel() == "units ever in SCU, most frequent first"
    assert axes.get_ylabel() == "share of resamples with the unit in SCU"


def test_without_resamples_there_is_one_panel_and_one_table(
    tmp_path: Path, unsaved: list[Figure]
) -> None:
    tables = draw_stability(replace(atlas(), inclusion=None), SMALL, tmp_path / "a.svg")
    assert [table.name for table in tables] == ["a.csv"]
    assert len(unsaved[0].axes) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.svg"]


def growing() -> dict[str, Any]:
    def point(tokens: int) -> dict[str, Any]:
        seconds = {"median": tokens / 8, "low": tokens / 16, "high": tokens / 4}
        times = {"seconds": seconds, "bare_seconds": tokens / 32, "extra_seconds": tokens / 64}
        return {"tokens": tokens, **times, "peak_memory": 3 * 2**20, "state_bytes": 2**21}

    fits = {
        name: {"exponent": exponent, "low": exponent - 0.5, "high": exponent + 0.25}
        for name, exponent in (
            *(("seconds", 1.02), ("bare_seconds", 1.5)),
            *(("peak_memory", -0.001), ("state_bytes", 0.25)),
        )
    }
    curve = {"points": [point(8), point(64)], "exponents": {**fits, "extra_seconds": None}}
    return {
        "curves": {"identification": {"tokens": curve}},
        "machine": {"processor": "AMD EPYC", "gpus": ["NVIDIA H100"], "torch_threads": 1},
        "settings": {"device": "cpu", "precision": "float32"},
        "clock": "processor",
    }


def test_growth_is_written_with_its_ends_and_its_exponent() -> None:
    rows = growth_rows(growing()).set_index(["measured", "size"])
    columns = ["value", "low", "high", "exponent", "exponent_low", "exponent_high"]
    assert rows.loc[("seconds", 64), columns].tolist() == [8, 4, 16, 1.02, 0.52, 1.27]
    assert rows.loc[("bare_seconds", 8), ["value", "low", "high"]].tolist() == [0.25] * 3
    assert rows.loc[("extra_seconds", 8), columns[3:]].isna().all()
    assert set(rows["task"] + rows["axis"]) == {"identificationtokens"}


def test_growth_on_a_card_names_the_card(tmp_path: Path, unsaved: list[Figure]) -> None:
    report = growing()
    report["settings"] |= {"device": "cuda", "precision": "bfloat16"}
    draw_growth(report | {"clock": "wall"}, tmp_path / "a.svg")
    assert unsaved[0].get_suptitle() == "NVIDIA H100, bfloat16, wall time; numbers: exponents"


def test_growth_is_drawn_in_seconds_and_mebibytes(tmp_path: Path, unsaved: list[Figure]) -> None:
    draw_growth(growing(), tmp_path / "a.svg")
    said = "AMD EPYC, 1 thread, float32, processor time; numbers: exponents"
    assert unsaved[0].get_suptitle() == said
    above, below = unsaved[0].axes
    wanted = {
        above: {"whole 1.02": [1, 8], "bare pass 1.50": [0.25, 2], "statistics": [0.125, 1]},
        below: {"peak 0.00": [3, 3], "state 0.25": [2, 2]},
    }
    for axes, lines in wanted.items():
        found = {line.get_label(): line for line in axes.lines}
        assert {name: list(line.get_ydata()) for name, line in found.items()} == lines
        assert {tuple(line.get_xdata()) for line in found.values()} == {(8, 64)}
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.xaxis.get_transform().base == 2
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)
    assert (above.get_ylabel(), below.get_ylabel()) == ("seconds", "MiB")
    assert below.get_xlabel() == "tokens\n(identification)"
    assert np.divide(*below.get_ylim()[::-1]) > 16, "what does not grow looks flat"
    assert above.get_ylim()[0] > 0.125 / 2, "what grows fills its panel"


@pytest.fixture
def probe(tmp_path: Path, unsaved: list[Figure]) -> list[Figure]:
    made = probed(0, "one")
    made.config["probe"]["distances"] = ["cosine"]
    draw_probe([made], tmp_path / "a.svg")
    return unsaved


def at_first_block(band: Collection) -> tuple[float, float]:
    """Where a band begins and ends at block 1; the embedding is a gap."""
    values = [y for path in band.get_paths() for x, y in path.vertices if x == 1]
    return min(values), max(values)


def test_rows_of_the_probe_are_named_by_distance_and_model(probe: list[Figure]) -> None:
    distances, gaps, _ = probe
    forms = {"cosine": "cosine/raw", "cosine, content-free": "cosine/content_free"}
    rows = [(name, model) for name in forms for model in ("unaligned", "aligned")]
    for axes, (name, model) in zip(distances.axes[::2], rows, strict=True):
        assert axes.get_ylabel() == f"{name}\n{model}"
        benign, malicious = (height(model, f"{forms[name]}/k2/{side}") for side in SIDE_COLOURS)
        for band, line, value, side in zip(
            axes.collections, axes.lines[:2], (benign, malicious), SIDE_COLOURS, strict=True
        ):
            assert line.get_ydata()[1] == value
            assert list(line.get_xdata()) == [0, 1, 2], "0 is the embedding"
            assert at_first_block(band) == (value - 0.25, value + 0.5)
            assert line.get_color() == SIDE_COLOURS[side]
            assert to_hex(band.get_facecolor()[0]) == to_hex(SIDE_COLOURS[side])
    for axes, name in zip(gaps.axes[::2], forms, strict=True):
        assert axes.get_ylabel() == name
        assert axes.get_ylim()[0] == 0
        for line, model in zip(axes.lines[::2], ("unaligned", "aligned"), strict=True):
            assert line.get_ydata()[1] == height(model, f"{forms[name]}/k2/gap")
            assert line.get_color() == MODEL_COLOURS[model]
    titles = [figure.legends[0].get_title().get_text() for figure in (distances, gaps)]
    of = "SmolLM2-135M-Instruct (Q4_1), one, seed 0"
    assert titles == [
        f"{of}: distance to the bare request's continuation; 95% bands",
        f"{of}: |benign - malicious|, moving average over 3 blocks; 95% bands",
    ]
    assert {figure.get_supxlabel() for figure in (distances, gaps)} == {"block (0 = embedding)"}


def test_areas_of_the_probe_are_told_apart(probe: list[Figure]) -> None:
    (axes,) = probe[2].axes
    found = {
        line.get_label(): (line.get_ydata()[1], line.is_dashed(), line.get_color())
        for line in axes.lines
    }
    assert found.pop("aligned, 5 shuffles (range)")[0] == height("aligned", "auc/shuffled")
    assert found == {
        f"{model}, {what}": (height(model, f"auc/{name}"), name == "borderline", shade)
        for model, shade in MODEL_COLOURS.items()
        for what, name in (("all harmless", "harmless"), ("borderline only", "borderline"))
    }
    bands = [at_first_block(band) for band in axes.collections]
    drawn = [("unaligned", "harmless"), ("aligned", "harmless"), ("aligned", "shuffled")]
    values = [height(model, f"auc/{name}") for model, name in drawn]
    assert bands == [(value - 0.25, value + 0.5) for value in values]
    assert axes.get_xlabel() == "block (0 = embedding)"
    assert axes.get_ylabel() == "held-out AUC, harmful requests"
