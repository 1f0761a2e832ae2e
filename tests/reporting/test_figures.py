"""Figures from records: every arm is there, at its place, told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ssah_exp.config.vocabulary import CONTROLS
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.drawn_asr import DrawnAsr
from ssah_exp.reporting.figures.drawing import CONTROL_MARKERS
from ssah_exp.reporting.figures.loss import asr_against_loss
from tests.records.synthetic import record


def arm(name: str, control: str | None, loss: float, complied: int) -> ArmRecord:
    first = record().arms[0]
    metrics = {
        "train_loss": Estimate(loss, None, None, 64, "examples", "fixed sample"),
        "asr/mean/zou2023": rate(complied, 100, 0.95),
    }
    return replace(first, name=name, control=control, arm=name.split("/")[0], metrics=metrics)


@pytest.fixture
def trained() -> RunRecord:
    base = record()
    config = {**base.config, "evaluation": {**base.config["evaluation"]}}
    config["evaluation"] |= {"primary_judge": "zou2023", "harmful_styles": ["raw"]}
    arms = [
        arm("full", None, 1.0, 30),
        arm("ru20", None, 1.1, 5),
        arm("ru20/random/0", "random", 1.2, 8),
    ]
    return replace(base, artefact="table4_alignment_budget", config=config, arms=arms)


def test_points_stand_where_the_numbers_are(
    trained: RunRecord, tmp_path: Path, drawn: list[Figure]
) -> None:
    start = replace(arm("aligned", None, 9.0, 2), arm=None, model="aligned")
    trained = replace(trained, arms=[start, *trained.arms])
    asr_against_loss([trained, replace(trained, seed=1)], tmp_path / "new" / "figure.png")
    assert (tmp_path / "new" / "figure.png").read_bytes()[:4] == b"\x89PNG"
    (axes,) = drawn[0].axes
    points = {(float(c[0].get_xdata()[0]), float(c[0].get_ydata()[0])) for c in axes.containers}
    assert points == {(1.0, 30.0), (1.1, 5.0), (1.2, 8.0)}
    assert len(axes.containers) == 6
    model, said = drawn[0].get_suptitle().split("\n")
    assert model == trained.config["model"]["name"]
    assert said == (
        "bundled, table4_alignment_budget, 2 seeds; a mark a seed, lines: 95% interval over prompts"
    )
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    shown = ["aligned, loss 9.00", "full", "ru20", "random like ru20"]
    assert texts == shown, "each once, over both seeds"
    assert axes.get_xlim()[1] < 1.5, "the model before training leaves the arms their room"
    assert [set(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "--"] == [{2.0}]


def test_every_kind_of_control_has_a_mark_of_its_own(
    trained: RunRecord, tmp_path: Path, drawn: list[Figure]
) -> None:
    draws = [arm(f"ru20/{kind}/0", kind, 1.2, 8) for kind in CONTROLS]
    asr_against_loss([replace(trained, arms=[*trained.arms[:2], *draws])], tmp_path / "a.svg")
    points = {item.get_label(): item[0] for item in drawn[0].axes[0].containers}
    for kind, marker in zip(CONTROLS, ("x", "^", "s", "D"), strict=True):
        assert points[f"{kind} like ru20"].get_marker() == marker
        assert points[f"{kind} like ru20"].get_color() == points["ru20"].get_color()


def test_every_arm_has_a_colour_of_its_own(
    trained: RunRecord, tmp_path: Path, drawn: list[Figure]
) -> None:
    """More of them than the palette holds."""
    arms = [arm(f"ru{share:02}", None, 1.0, share) for share in range(1, 13)]
    asr_against_loss([replace(trained, arms=arms)], tmp_path / "a.svg")
    assert len({item[0].get_color() for item in drawn[0].axes[0].containers}) == len(arms) == 12


def test_a_table_of_the_users_is_not_overwritten(trained: RunRecord, tmp_path: Path) -> None:
    mine = tmp_path / "results.csv"
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"results\.csv' is there and belongs to no picture"):
        asr_against_loss([trained], tmp_path / "results.svg")
    assert mine.read_text() == "mine"
    assert [*tmp_path.iterdir()] == [mine]
    asr_against_loss([trained], tmp_path / "other.svg")
    asr_against_loss([trained], tmp_path / "other.png")
    asr_against_loss([trained], tmp_path / "other.png")


def test_what_cannot_be_drawn_is_said(trained: RunRecord, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="trained nothing"):
        asr_against_loss([replace(trained, arms=record().arms)], tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"style .chat..*raw"):
        asr_against_loss([trained], tmp_path / "a.png", DrawnAsr("chat"))
    with pytest.raises(ConfigError, match="svg"):
        asr_against_loss([trained], tmp_path / "a.wrong")
    assert not list(tmp_path.iterdir())


def test_rates_that_no_arm_has_are_said(trained: RunRecord, tmp_path: Path) -> None:
    """A judge that was down for a whole run."""
    lost = rate(0, 0, 0.95)
    assert lost.value is None
    arms = [
        replace(item, metrics={**item.metrics, "asr/mean/zou2023": lost}) for item in trained.arms
    ]
    with pytest.raises(StoreError, match="both a training loss and asr/mean/zou2023"):
        asr_against_loss([replace(trained, arms=arms)], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", [0, 1])
def test_a_judge_that_was_asked_later_of_one_seed_is_drawn(
    trained: RunRecord, tmp_path: Path, asked: int
) -> None:
    later = {"asr/mean/later": rate(10, 100, 0.95)}
    arms = [replace(item, metrics={**item.metrics, **later}) for item in trained.arms]
    made = [replace(trained, seed=seed) for seed in (0, 1)]
    made[asked] = replace(made[asked], arms=arms)
    table = asr_against_loss(made, tmp_path / "a.svg", DrawnAsr(judge="later"))
    assert set(pd.read_csv(table)["seed"]) == {asked}


def test_the_numbers_lie_beside(trained: RunRecord, tmp_path: Path) -> None:
    table = asr_against_loss([trained], tmp_path / "figure.svg")
    assert table == tmp_path / "figure.csv"
    rows = pd.read_csv(table).to_dict("records")
    assert [row["label"] for row in rows] == ["full", "ru20", "random like ru20"]
    assert [(row["train_loss"], row["asr_pct"], row["n"]) for row in rows] == [
        (1.0, 30, 100),
        (1.1, 5, 100),
        (1.2, 8, 100),
    ]
    assert all(row["low"] < row["asr_pct"] < row["high"] for row in rows)


def test_every_seed_has_its_own_line_and_interval_and_the_start_its_mean(
    trained: RunRecord, tmp_path: Path, drawn: list[Figure]
) -> None:
    """Wilson's ends by hand: 30 of 100 have 21.9 and 39.6, 60 of 100 have 50.2 and 69.1."""
    runs = []
    for seed, start, full in ((3, 2, 30), (5, 10, 60)):
        before = replace(arm("aligned", None, 9.0, start), arm=None, model="aligned")
        arms = [before, arm("full", None, 1.0, full)]
        runs.append(replace(trained, seed=seed, arms=arms))
    rows = pd.read_csv(asr_against_loss(runs, tmp_path / "figure.svg"))
    assert rows["seed"].tolist() == [3, 3, 5, 5]
    assert rows["trained"].tolist() == [False, True] * 2
    ends = rows.loc[rows["trained"], ["asr_pct", "low", "high"]].to_numpy()
    assert ends == pytest.approx(np.array([[30, 21.9, 39.6], [60, 50.2, 69.1]]), abs=0.05)
    (axes,) = drawn[0].axes
    (line,) = (item for item in axes.lines if item.get_linestyle() == "--")
    assert set(line.get_ydata()) == {6.0}
    bars = [item[2][0].get_segments()[0][:, 1] for item in axes.containers]
    assert np.array(bars) == pytest.approx(ends[:, 1:])


def test_markers_differ() -> None:
    assert set(CONTROL_MARKERS) == {"", *CONTROLS}
    assert len(set(CONTROL_MARKERS.values())) == len(CONTROL_MARKERS)
