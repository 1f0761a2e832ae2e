"""Curves over shares and swept numbers: which records make one, what stands in them."""

from __future__ import annotations

import math
import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ssah_exp.cli import main
from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.curves import Across, curve_rows, curves_of
from ssah_exp.reporting.figures.curve import draw_curve
from tests.records.synthetic import arm, metrics, record, trained_arm, training_record


def at_budget(budget: float, seed: int, asr: float) -> RunRecord:
    config = deepcopy(record().config)
    config["units"]["budgets"]["scu"] = budget
    arms = [
        arm("aligned", 0.1),
        arm("SCU/pooled", asr, parameter_share=budget * 0.999),
        arm("SCU/pooled/random/0", 0.1, parameter_share=budget * 0.999),
        arm("SCU/pooled/random/1", 0.2, metrics=metrics(0.2, 4.0), parameter_share=budget * 0.999),
        arm("RU/pooled", 0.5, parameter_share=0.1),
        arm("SCU/zero", 0.9, parameter_share=budget * 0.999),
    ]
    run_id = f"{round(1e4 * budget):04d}{seed:08x}"
    return replace(record(seed), run_id=run_id, config={**config, "seed": seed}, arms=arms)


RECORDS = [at_budget(budget, seed, budget * 10) for budget in (0.01, 0.05) for seed in (0, 1)]


def test_budgets_and_seeds_make_one_curve_and_another_setting_another() -> None:
    other = []
    for made in RECORDS:
        config = {**made.config, "data": {**made.config["data"], "name": "other"}}
        other.append(replace(made, run_id=f"o{made.run_id}", config=config))
    curves = curves_of([*RECORDS, *other], Across())
    assert [len(group) for group in curves] == [4, 4]
    with pytest.raises(StoreError, match="arms of 2 shares"):
        curves_of(RECORDS[:2], Across())  # one budget, two seeds


def test_shares_are_places_of_two_digits_however_small() -> None:
    """Draws of one budget fill it to within a unit; shares of a large model's few lie below 1 %."""
    shares = {0.000123: 0.012, 0.0123: 1.2, 0.0117: 1.2, 0.0134: 1.3, 0.47: 47.0}
    for share, place in shares.items():
        assert Across().place(record(), arm("SCU/pooled", 0.5, parameter_share=share)) == place


def reading(made: RunRecord, name: str, file: str) -> RunRecord:
    inputs = {**made.inputs, name: file}
    return replace(made, run_id=f"{file}{made.run_id}", inputs=inputs)


@pytest.mark.parametrize("name", ["model", "safety_calibration"])
def test_runs_on_several_files_are_no_one_curve(name: str) -> None:
    """Neither where a seed draws from them, nor where the whole is read."""
    seed = RECORDS[0].seed
    first = [reading(made, name, "a") for made in RECORDS if made.seed == seed]
    second = [reading(made, name, "b") for made in RECORDS if made.seed == seed]
    curves = curves_of([*first, *second], Across())
    assert [{made.inputs[name] for made in curve} for curve in curves] == [{"a"}, {"b"}]
    assert [len(curve) for curve in curves] == [2, 2]


def test_a_curve_over_how_much_is_read_is_one() -> None:
    def stopped(stop: int) -> RunRecord:
        config = deepcopy(record().config)
        config["data"]["harmful_eval"]["stop"] = stop
        return replace(record(), config=config, inputs={"harmful_eval": f"{stop} rows"})

    across = Across("data.harmful_eval.stop")
    (curve,) = curves_of([stopped(10), stopped(20)], across)
    assert len(curve) == 2


def test_a_curve_over_how_much_is_read_of_one_file_holds_others_fixed() -> None:
    """What differs between its points is then what was swept, not another text beside it."""

    def stopped(stop: int) -> RunRecord:
        config = deepcopy(record().config)
        config["data"]["harmful_eval"]["stop"] = stop
        return replace(record(), config=config, inputs={"harmful_eval": "h", "text": f"of {stop}"})

    with pytest.raises(StoreError, match="also differ in the file of text"):
        curves_of([stopped(10), stopped(20)], Across("data.harmful_eval.stop"))


def test_a_number_that_is_the_same_in_all_records_is_no_curve_but_a_number() -> None:
    with pytest.raises(StoreError, match=r"has arms of 2 values of units\.samples"):
        curves_of(RECORDS[:2], Across("units.samples"))


def test_rows_hold_the_class_its_controls_and_the_dense_model() -> None:
    rows = curve_rows(RECORDS, Across())
    asr = rows[rows["metric"] == "asr"]
    chosen = asr[asr["what"] == "chosen"].groupby("share_pct")["value"].mean()
    assert chosen.to_dict() == pytest.approx({1.0: 10.0, 5.0: 50.0})
    assert sorted(asr.loc[asr["what"] == "random", "value"].unique()) == pytest.approx([10, 20])
    assert set(asr["what"]) == {"chosen", "random", "aligned"}
    assert asr.loc[asr["what"] == "aligned", "share_pct"].eq(0).all()


def test_an_arm_that_was_not_measured_so_is_a_gap() -> None:
    *rest, last = RECORDS
    less = {name: found for name, found in last.arms[0].metrics.items() if name != "perplexity"}
    lacking = replace(last, arms=[replace(last.arms[0], metrics=less), *last.arms[1:]])
    rows, whole = (curve_rows([*rest, item], Across()) for item in (lacking, last))
    gaps = rows[rows["value"].isna()]
    assert gaps[["metric", "what", "seed"]].to_numpy().tolist() == [["perplexity", "aligned", 1]]
    assert whole["value"].notna().all()
    pd.testing.assert_frame_equal(rows.drop(gaps.index), whole.drop(gaps.index))


def test_arms_of_a_training_table_are_one_curve() -> None:
    arms = [
        trained_arm("aligned", 0.1, 2.0),
        trained_arm("full", 0.9, 1.0),
        replace(trained_arm("setting_i", 0.7, 1.0), parameter_share=0.1),
        replace(trained_arm("setting_i/random/0", 0.6, 1.0), parameter_share=0.1),
        replace(trained_arm("setting_ii", 0.3, 1.0), parameter_share=0.7),
    ]
    made = training_record(arms=arms)
    (curve,) = curves_of([made], Across())
    rows = curve_rows(curve, Across())
    asr = rows[rows["metric"] == "asr"].set_index(["what", "share_pct"])["value"]
    assert asr.to_dict() == pytest.approx(
        {
            ("aligned", 0.0): 10.0,
            ("full", 0.0): 90.0,
            ("chosen", 10.0): 70.0,
            ("random", 10.0): 60.0,
            ("chosen", 70.0): 30.0,
        }
    )


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_picture_has_its_numbers_beside_it(tmp_path: Path, suffix: str) -> None:
    numbers = draw_curve(RECORDS, tmp_path / f"shares.{suffix}", Across())
    assert (tmp_path / f"shares.{suffix}").stat().st_size > 1000
    again = pd.read_csv(numbers)
    expected = curve_rows(RECORDS, Across())
    assert again["value"].tolist() == pytest.approx(expected["value"].tolist())
    assert again["what"].tolist() == expected["what"].tolist()


def test_a_curve_of_perplexities_goes_through_their_geometric_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def plot(axes: Axes, *given: Any, **look: Any) -> Any:
        drawn.setdefault(look.get("label", ""), []).append(given[1])
        return untouched(axes, *given, **look)

    untouched = Axes.plot
    monkeypatch.setattr(Axes, "plot", plot)
    draw_curve(RECORDS, tmp_path / "shares.svg", Across())
    rows = curve_rows(RECORDS, Across())
    random = rows[(rows["what"] == "random") & (rows["metric"] == "perplexity")]
    asr, perplexity = drawn["random"]
    assert list(asr) == pytest.approx([15.0, 15.0])
    logs = random.groupby("share_pct")["value"].apply(lambda item: fmean(map(math.log, item)))
    assert list(perplexity) == pytest.approx([math.exp(item) for item in logs])


def test_a_mean_with_an_overflow_in_it_stands_at_the_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was drawn as if the overflow were ten times the largest number."""
    made = deepcopy(RECORDS)
    for item in made:
        item.arms[3] = replace(item.arms[3], metrics=metrics(0.2, 1e9))
    drawn: dict[str, Any] = {}

    def plot(axes: Axes, *given: Any, **look: Any) -> Any:
        drawn.setdefault(look.get("label", ""), []).append(list(given[1]))
        return untouched(axes, *given, **look)

    untouched = Axes.plot
    monkeypatch.setattr(Axes, "plot", plot)
    draw_curve(made, tmp_path / "shares.svg", Across())
    rows = curve_rows(made, Across())
    finite = rows[(rows["metric"] == "perplexity") & (rows["value"] < 1e300)]["value"]
    _, perplexity = drawn["random"]
    assert perplexity == pytest.approx([10 * finite.max()] * 2)
    _, chosen = drawn["chosen"]
    assert max(chosen) <= finite.max(), "places without one are where they were"


def test_a_curve_has_its_places_its_range_and_the_dense_model_behind_it(
    tmp_path: Path, unsaved: list[Figure]
) -> None:
    made = [
        at_budget(budget, seed, 10 * budget + 0.1 * seed)
        for budget in (0.01, 0.05)
        for seed in (0, 1)
    ]
    draw_curve(made, tmp_path / "shares.svg", Across())
    (figure,) = unsaved
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    assert lines["chosen"].get_xydata() == pytest.approx(np.array([[1, 15], [5, 55]]))
    assert lines["random"].get_xydata() == pytest.approx(np.array([[1, 15], [5, 15]]))
    assert set(lines["aligned"].get_ydata()) == {10}
    assert lines["aligned"].get_linestyle() == "-"
    wanted = {"chosen": {1: (10, 20), 5: (50, 60)}, "random": {1: (10, 20), 5: (10, 20)}}
    for band, (name, ends) in zip(left.collections, wanted.items(), strict=True):
        corners = band.get_paths()[0].vertices
        for place, range_there in ends.items():
            values = [y for x, y in corners if x == place]
            assert (min(values), max(values)) == pytest.approx(range_there)
        assert to_hex(band.get_facecolor()[0]) == to_hex(lines[name].get_color())
    for axes in figure.axes:
        assert (axes.get_xscale(), list(axes.get_xticks())) == ("log", [1, 5])
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "5"]
        assert axes.get_xlabel() == "share of unit parameters, %"
    assert left.get_ylabel() == "ASR %, mean of the prompt styles"
    assert right.get_ylabel() == "perplexity"
    assert left.get_ylim() == (-3, 103)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["aligned", "SCU", "random"]
    marks = "marks: mean over seeds and draws, of perplexities the geometric one"
    assert legend.get_title().get_text() == f"{marks}; bands: their range"


@pytest.mark.parametrize(("largest", "scale"), [(63, "linear"), (64, "log")])
def test_over_a_key_the_dense_model_is_drawn_place_by_place(
    tmp_path: Path, unsaved: list[Figure], largest: int, scale: str
) -> None:
    """It may depend on what is swept; places four times as large are worth a logarithm."""
    made = [calibrated_on(size, 0, 0.5) for size in (16, largest)]
    made[1] = replace(made[1], arms=[arm("aligned", 0.3), *made[1].arms[1:]])
    draw_curve(made, tmp_path / "sizes.svg", Across("units.samples"))
    left = unsaved[0].axes[0]
    (dense,) = (line for line in left.lines if line.get_label() == "aligned")
    assert dense.get_xydata() == pytest.approx(np.array([[16, 10], [largest, 30]]))
    assert left.get_xscale() == scale


@pytest.mark.parametrize(
    ("fills", "said"),
    [
        (("pooled",), "SCU pruned, 2 seeds"),
        (("utility",), "SCU pruned, set to their utility mean, 2 seeds"),
        (("zero", "utility"), "SCU pruned, 2 seeds"),
    ],
)
def test_the_title_says_what_pruned_units_are_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fills: tuple[str, ...], said: str
) -> None:
    """Curves of the same units set to something else would be titled alike."""
    titles: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda _, text: titles.append(text))
    set_so = []
    for fill in fills:
        for made in RECORDS:
            config = deepcopy(made.config)
            config["ablation"]["primary_fill"] = fill
            arms = [replace(item, fill=fill if item.fill else None) for item in made.arms]
            set_so.append(replace(made, config=config, arms=arms))
    draw_curve(set_so, tmp_path / "curve.svg", Across())
    config = RECORDS[0].config
    assert titles == [f"{config['model']['name']}\n{config['data']['name']}, {said}"]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for made in RECORDS:
        (tmp_path / f"{made.run_id}.json").write_text(made.to_json())
    out = tmp_path / "curve.svg"
    command = ["figure", "table1_pruning", "--records", str(tmp_path), "--out", str(out)]
    assert main([*command, "--by", "share"]) == 0
    assert "curve.csv" in capsys.readouterr().out
    assert main([*command, "--of", "SCU"]) == 2
    assert "--by share or KEY only" in capsys.readouterr().err
    assert main([*command, "--by", "share", "--of", "UCU"]) == 2
    assert "--of UCU: none of these records pruned it. Did you mean" in capsys.readouterr().err
    assert main([*command, "--by", "share", "--of", "RU"]) == 2
    assert "arms of 2 shares" in capsys.readouterr().err


def test_a_curve_without_perplexities_is_drawn_by_its_rates(tmp_path: Path) -> None:
    lost = [
        replace(
            made,
            arms=[
                replace(own, metrics={k: v for k, v in own.metrics.items() if k != "perplexity"})
                for own in made.arms
            ],
        )
        for made in RECORDS
    ]
    rows = pd.read_csv(draw_curve(lost, tmp_path / "a.svg", Across()))
    assert rows.loc[rows["metric"] == "perplexity", "value"].isna().all()
    assert rows.loc[rows["metric"] == "asr", "value"].notna().all()


def with_set(share: float, seed: int, asr: float) -> RunRecord:
    made = at_budget(0.01, seed, 0.5)
    sets = {"top": {"_target_": "ssah_exp.units.selectors.Ranked", "share": share}}
    config = {**made.config, "ablation": {**made.config["ablation"], "sets": sets}}
    arms = [*made.arms, arm("top/pooled", asr, parameter_share=share)]
    run_id = f"{round(1e4 * share):04d}{seed:08x}"
    return replace(made, run_id=run_id, config=config, arms=arms)


@pytest.mark.parametrize("key", [None, "ablation.sets.top.share"])
def test_a_set_of_the_users_own_is_drawn_over_its_share(key: str | None) -> None:
    shares = {0.02: 0.3, 0.04: 0.6}
    made = [with_set(share, seed, asr) for share, asr in shares.items() for seed in (0, 1)]
    across = Across(key, "top")
    (curve,) = curves_of([*made, *RECORDS], across)  # those that have no such set are left out
    assert {item.run_id for item in curve} == {item.run_id for item in made}
    rows = curve_rows(curve, across)
    chosen = rows[(rows["metric"] == "asr") & (rows["what"] == "chosen")]
    scale = 100 if key is None else 1
    assert chosen.groupby(across.column)["value"].mean().to_dict() == pytest.approx(
        {scale * share: 100 * asr for share, asr in shares.items()}
    )


def calibrated_on(samples: int, seed: int, asr: float) -> RunRecord:
    made = at_budget(0.01, seed, asr)
    config = {**made.config, "units": {**made.config["units"], "samples": samples}}
    return replace(made, run_id=f"{samples:04d}{seed:08x}", config=config)


def test_any_number_of_the_config_can_be_what_a_curve_runs_over(tmp_path: Path) -> None:
    sizes = {16: 0.2, 64: 0.6, 128: 0.8}
    made = [calibrated_on(size, seed, asr) for size, asr in sizes.items() for seed in (0, 1)]
    across = Across("units.samples")
    (curve,) = curves_of(made, across)
    rows = curve_rows(curve, across)
    chosen = rows[(rows["metric"] == "asr") & (rows["what"] == "chosen")]
    assert chosen.groupby("units.samples")["value"].mean().to_dict() == pytest.approx(
        {size: 100 * asr for size, asr in sizes.items()}
    )
    dense = rows[rows["what"] == "aligned"]
    assert set(dense["units.samples"]) == set(sizes)  # it may depend on what is swept

    for item in made:
        (tmp_path / f"{item.run_id}.json").write_text(item.to_json())
    out = tmp_path / "sizes.svg"
    command = ["figure", "table1_pruning", "--records", str(tmp_path), "--out", str(out)]
    assert main([*command, "--by", "units.samples"]) == 0
    assert "units.samples" in out.read_text()


@pytest.mark.parametrize("key", ["data.alignment.0.sample", "data.alignment.0"])
def test_a_number_in_a_list_can_be_it(key: str) -> None:
    def aligned_on(rows: int) -> RunRecord:
        made = at_budget(0.01, 0, 0.5)
        first = {"sample": rows} if key.endswith("sample") else rows
        data = {**made.config["data"], "alignment": [first, {"sample": 80}]}
        return replace(made, run_id=f"{rows:012d}", config={**made.config, "data": data})

    made = [aligned_on(rows) for rows in (80, 160)]
    across = Across(key)
    (curve,) = curves_of(made, across)
    assert set(curve_rows(curve, across)[key]) == {80, 160}
    assert made[0].config["data"]["alignment"][1] == {"sample": 80}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("units.sampels", "Did you mean 'units.samples'?"),
        ("evaluation.lists.1.sampel", "Did you mean 'evaluation.lists.1.sample'?"),
        ("units.statistic", "no number"),
        ("evaluation", "no number"),
    ],
)
def test_what_is_no_number_is_refused(key: str, message: str) -> None:
    lists = [{"path": "p", "sample": None}, {"sample": 80}, []]
    made = [
        replace(
            item,
            config={**item.config, "evaluation": {**item.config["evaluation"], "lists": lists}},
        )
        for item in RECORDS
    ]
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        curves_of(made, Across(key))


def reading_text(tokens: int | None, seed: int) -> RunRecord:
    made = at_budget(0.01, seed, 0.5)
    evaluation = deepcopy(made.config["evaluation"])
    evaluation["perplexity"]["max_tokens"] = tokens
    config = {**made.config, "evaluation": evaluation}
    return replace(made, run_id=f"{tokens or 0:08d}{seed:04x}", config=config)


def test_records_without_a_number_there_are_left_out_aloud() -> None:
    """Whichever is read first: null means all of the text, which is no place on an axis."""
    across = Across("evaluation.perplexity.max_tokens")
    whole, *some = [reading_text(tokens, 0) for tokens in (None, 512, 1024)]
    for records in ([whole, *some], [*some, whole]):
        with pytest.warns(UserWarning, match="1 of 3 records have no number there"):
            (curve,) = curves_of(records, across)
        assert {item.run_id for item in curve} == {item.run_id for item in some}
    with pytest.raises(ConfigError, match="max_tokens: no number of these records' config"):
        curves_of([whole], across)


def test_records_that_are_in_no_curve_are_left_out_aloud() -> None:
    """Of another study, say, whose arms were others: its place would seem not to have been run."""
    alone = at_budget(0.1, 0, 0.5)
    alone.config["ablation"]["controls"] = {"draws": 3}
    left = r"1 of 5 records are in no picture, .* They also differ in ablation\.controls"
    with pytest.warns(UserWarning, match=rf"--by units\.budgets\.scu: {left}"):
        curves = curves_of([*RECORDS, alone], Across("units.budgets.scu"))
    assert [len(curve) for curve in curves] == [4]
    with pytest.warns(UserWarning, match="--by share: 1 of 5 records"):
        curves_of([*RECORDS, alone], Across())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves_of(RECORDS, Across())


def test_arms_of_a_training_table_are_not_drawn_over_a_key() -> None:
    with pytest.raises(ConfigError, match="only table1_pruning"):
        curves_of([training_record()], Across("units.samples"))


@pytest.mark.parametrize("key", ["data.name", "alignment.enabled", "units.budgets.scuu"])
def test_what_is_no_number_is_refused_and_numbers_are_offered(key: str) -> None:
    with pytest.raises(
        ConfigError, match=f"--by {key}: no number of these records' config"
    ) as said:
        curves_of(RECORDS, Across(key))
    assert f"Did you mean '{key}'" not in str(said.value)
    assert "units.budgets.scu" in str(said.value)
    assert "data.name," not in str(said.value)
