"""The CSV tracker: what is read back is the record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers import CsvTracker, RunHead
from tests.records.synthetic import CLASSES, arm, record, training_record


def written(made: RunRecord, root: Path) -> dict[str, pd.DataFrame]:
    place = Path(CsvTracker().mirror(made, root / "none", root))
    return {
        folder.name: pd.read_csv(
            folder / f"{made.run_id}.csv",
            dtype={"run_id": str},
            keep_default_na=False,  # "null" is a value of the config
            na_values=[""],
        )
        for folder in place.iterdir()
    }


def test_estimates_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    made = training_record(3)
    frame = written(made, tmp_path)["estimates"]
    found = {
        (row.arm, row.metric): Estimate(row.value, row.low, row.high, row.n, row.unit, row.method)
        for row in frame.astype(object).where(frame.notna(), None).itertuples()
    }
    expected = {(item.name, name): e for item in made.arms for name, e in item.metrics.items()}
    assert found == expected
    assert set(frame["run_id"]) == {made.run_id}
    assert set(frame["artefact"]) == {"table2_freezing"}
    assert set(frame["seed"]) == {3}


def test_gaps_are_empty_and_infinity_is_written(tmp_path: Path) -> None:
    gap = Estimate(None, None, None, 0, "prompts", "Wilson 95%")
    overflow = Estimate(float("inf"), None, None, 3, "windows", "bootstrap")
    made = record(arms=[arm("aligned", 0.0, metrics={"asr": gap, "perplexity": overflow})])
    frame = written(made, tmp_path)["estimates"].set_index("metric")
    assert pd.isna(frame.loc["asr", "value"])
    assert frame.loc["perplexity", "value"] == float("inf")


def test_classes_arms_stages_and_config(tmp_path: Path) -> None:
    arms = [replace(item, overlap=0.25 * (item.draw == 1)) for item in record().arms]
    arms[2] = replace(arms[2], class_shares={"SCU": 1.0, "CU": 0.5}, shift=3.0, norm=-0.25)
    stage = StageRecord("train full", "key", True, 1.5, {"certificate_seconds": 0.5})
    made = record(5, arms=arms, stages=[stage])
    tables = written(made, tmp_path)
    assert tables.keys() == {"estimates", "arms", "classes", "stages", "config"}
    shares = tables["classes"].set_index("class")["parameter_share"]
    assert shares.to_dict() == {name: row["parameter_share"] for name, row in CLASSES.items()}
    assert list(tables["arms"]["name"]) == [item.name for item in made.arms]
    assert list(tables["arms"]["overlap"]) == [0.25 * (item.draw == 1) for item in made.arms]
    assert tables["arms"]["class_shares/CU"].dropna().to_dict() == {2: 0.5}
    sizes = ["units", "unit_share", "parameter_share", "magnitude", "shift", "norm"]
    assert tables["arms"].loc[2, sizes].tolist() == [10, 0.0125, 0.01, 0.5, 3.0, -0.25]
    named = tables["arms"].set_index("name").loc["SCU/pooled/random/1"]
    whose = ["model", "unit_class", "fill", "control", "draw"]
    assert named[whose].tolist() == ["aligned", "SCU", "pooled", "random", 1]
    assert list(tables["stages"]["certificate_seconds"]) == [0.5]
    shown = ["stage", "key", "cached", "seconds"]
    assert tables["stages"].loc[0, shown].tolist() == ["train full", "key", True, 1.5]
    config = {row.key: json.loads(row.value) for row in tables["config"].itertuples()}
    assert config["units.budgets.scu"] == made.config["units"]["budgets"]["scu"]
    assert config["inputs.model"] == made.inputs["model"]
    assert (config["record.started"], config["record.finished"]) == (made.started, made.finished)
    said = ("status", "schema", "template_hash", "data.harmful_eval", "calibration.safety.tokens")
    assert [config[f"record.{key}"] for key in said] == ["done", made.schema, "h", 100, 9]
    assert config["record.statistics_agreement.jaccard_scu"] == 0.5


def test_what_was_attacked_with_is_told(tmp_path: Path) -> None:
    made = record(attacks={"suffixes": {"kind": "suffix", "count": 3}})
    config = written(made, tmp_path)["config"].set_index("key")["value"]
    assert config["record.attacks.suffixes.count"] == "3"


def test_files_of_several_runs_fit_together(tmp_path: Path) -> None:
    for seed in (1, 2):
        CsvTracker().mirror(record(seed), tmp_path, tmp_path)
    paths = sorted((tmp_path / "csv/estimates").glob("*.csv"))
    together = pd.concat(map(pd.read_csv, paths))
    assert len(together) == 2 * sum(len(item.metrics) for item in record().arms)
    assert not together.duplicated(["run_id", "arm", "metric"]).any()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "csv").write_text("a file")
    with pytest.raises(StoreError, match="a file lies where a folder is needed"):
        CsvTracker().mirror(record(), tmp_path, tmp_path)


def test_nothing_is_shown_before_the_end(tmp_path: Path) -> None:
    assert CsvTracker().open(RunHead.of(record()), tmp_path) is None  # type: ignore[func-returns-value]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("begun", ["=", "+", "-", "@"])
def test_a_name_is_no_formula(begun: str, tmp_path: Path) -> None:
    made = record(arms=[replace(arm("aligned", 0.0), name=f"{begun}cmd()")])
    tables = written(made, tmp_path)
    assert set(tables["estimates"]["arm"].dropna()) == {f"'{begun}cmd()"}
    assert tables["estimates"]["value"].dtype == float
