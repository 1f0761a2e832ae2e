"""Curves over the share of parameters: which records make one, what stands in them."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.cli import main
from ssah_exp.errors import StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.share_figure import curves_of, draw_shares, share_rows
from tests.records.synthetic import arm, record, trained_arm, training_record


def at_budget(budget: float, seed: int, asr: float) -> RunRecord:
    config = deepcopy(record().config)
    config["units"]["budgets"]["scu"] = budget
    arms = [
        arm("aligned", 0.1),
        arm("SCU/pooled", asr, parameter_share=budget * 0.999),
        arm("SCU/pooled/random/0", 0.1, parameter_share=budget * 0.999),
        arm("SCU/pooled/random/1", 0.2, parameter_share=budget * 0.999),
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
    curves = curves_of([*RECORDS, *other], "SCU")
    assert [len(group) for group in curves] == [4, 4]
    with pytest.raises(StoreError, match="arms of 2 shares"):
        curves_of(RECORDS[:2], "SCU")  # one budget, two seeds


def test_rows_hold_the_class_its_controls_and_the_dense_model() -> None:
    rows = share_rows(RECORDS, "SCU")
    asr = rows[rows["metric"] == "asr"]
    chosen = asr[asr["what"] == "chosen"].groupby("share_pct")["value"].mean()
    assert chosen.to_dict() == pytest.approx({1.0: 10.0, 5.0: 50.0})
    assert sorted(asr.loc[asr["what"] == "random", "value"].unique()) == pytest.approx([10, 20])
    assert set(asr["what"]) == {"chosen", "random", "aligned"}
    assert asr.loc[asr["what"] == "aligned", "share_pct"].eq(0).all()


def test_arms_of_a_training_table_are_one_curve() -> None:
    arms = [
        trained_arm("aligned", 0.1, 2.0),
        trained_arm("full", 0.9, 1.0),
        replace(trained_arm("setting_i", 0.7, 1.0), parameter_share=0.1),
        replace(trained_arm("setting_i/random/0", 0.6, 1.0), parameter_share=0.1),
        replace(trained_arm("setting_ii", 0.3, 1.0), parameter_share=0.7),
    ]
    made = training_record(arms=arms)
    (curve,) = curves_of([made], "SCU")
    rows = share_rows(curve, "SCU")
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
    numbers = draw_shares(RECORDS, tmp_path / f"shares.{suffix}", "SCU")
    assert (tmp_path / f"shares.{suffix}").stat().st_size > 1000
    again = pd.read_csv(numbers)
    expected = share_rows(RECORDS, "SCU")
    assert again["value"].tolist() == pytest.approx(expected["value"].tolist())
    assert again["what"].tolist() == expected["what"].tolist()


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for made in RECORDS:
        (tmp_path / f"{made.run_id}.json").write_text(made.to_json())
    out = tmp_path / "curve.svg"
    command = ["figure", "table1_pruning", "--records", str(tmp_path), "--out", str(out)]
    assert main([*command, "--by", "share"]) == 0
    assert "curve.csv" in capsys.readouterr().out
    assert main([*command, "--of", "SCU"]) == 2
    assert "--by share only" in capsys.readouterr().err
    assert main([*command, "--by", "share", "--of", "UCU"]) == 2
    assert "arms of 2 shares" in capsys.readouterr().err
