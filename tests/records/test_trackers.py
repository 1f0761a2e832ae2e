"""The W&B tracker, offline: the run it leaves is read back from its own file."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.records.trackers import WandbTracker, flat_metrics
from tests.records.synthetic import JUDGE, arm, record

SECRET = "an answer to a harmful request"
GAP = Estimate(None, None, None, 0, "prompts", "Wilson 95%")
BLOCK, HEADER = 32768, 7


def wandb_records(path: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: LevelDB's log format behind a header of seven bytes."""
    data, at, parts = path.read_bytes(), HEADER, b""
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        at += HEADER + length
        if at > len(data):
            return  # still being written
        parts += data[at - length : at]
        if kind in (1, 4):  # whole, or the last part
            made = Record()
            made.ParseFromString(parts)
            parts = b""
            yield made


def finished_records(place: Path) -> list[Any]:
    """W&B's service writes on after ``finish()`` has returned; the last record says exit."""
    (log,) = place.glob("*.wandb")
    for _ in range(300):
        found = list(wandb_records(log))
        if found and found[-1].HasField("exit"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{log} was not finished")


class Mirrored:
    """One offline run on disk."""

    def __init__(self, folder: Path, *, completions: bool) -> None:
        self.folder = folder
        for name, text in (("unitmap/unitmap.json", "{}"), ("completions/a.jsonl", SECRET)):
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(text)
        self.place = Path(
            WandbTracker(mode="offline", completions=completions).mirror(record(), folder)
        )
        self.records = finished_records(self.place)

    def summary(self) -> dict[str, Any]:
        updates = [item.summary for item in self.records if item.HasField("summary")]
        return {
            entry.key: json.loads(entry.value_json)
            for item in updates
            for entry in item.update
            if entry.key
        }

    def artifacts(self) -> dict[str, str]:
        found = [item.artifact for item in self.records if item.HasField("artifact")]
        return {item.type: item.name for item in found}


@pytest.fixture(scope="module", autouse=True)
def _private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """W&B keeps its own files in a folder of this test and sees no account."""
    home = tmp_path_factory.mktemp("wandb-home")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("DATA", "CACHE", "CONFIG"):
            patched.setenv(f"WANDB_{name}_DIR", str(home / name))
        patched.delenv("WANDB_API_KEY", raising=False)
        patched.delenv("WANDB_MODE", raising=False)
        yield


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Mirrored:
    return Mirrored(tmp_path_factory.mktemp("run"), completions=False)


def test_the_run_lies_below_the_given_folder(mirrored: Mirrored) -> None:
    assert mirrored.place.is_relative_to(mirrored.folder)
    assert mirrored.place.name.startswith("offline-run-")
    assert mirrored.place.name.endswith(record().run_id)


def test_the_summary_holds_values_intervals_and_counts(mirrored: Mirrored) -> None:
    summary = mirrored.summary()
    name = f"SCU/pooled/asr/raw/{JUDGE}"
    expected = record().arms[2].metrics[f"asr/raw/{JUDGE}"]
    assert summary[name] == pytest.approx(0.6)
    assert summary[f"{name}/low"] == pytest.approx(expected.low)
    assert summary[f"{name}/high"] == pytest.approx(expected.high)
    assert summary[f"{name}/n"] == 100
    assert flat_metrics(record()).keys() <= summary.keys()


def test_the_run_is_named_grouped_and_configured(mirrored: Mirrored) -> None:
    (run,) = [item.run for item in mirrored.records if item.HasField("run")]
    config = {entry.key: json.loads(entry.value_json) for entry in run.config.update}
    assert run.run_id == record().run_id
    assert run.run_group == "table1_pruning"
    assert config["seed"] == 0
    assert config["units"]["budgets"]["scu"] == record().config["units"]["budgets"]["scu"]
    assert config["inputs"] == record().inputs


def test_tables_of_classes_and_arms_are_there(mirrored: Mirrored) -> None:
    tables = {
        path.name.partition("_")[0]: json.loads(path.read_text())
        for path in mirrored.place.rglob("*.table.json")
    }
    assert tables.keys() == {"classes", "arms"}
    assert [row[0] for row in tables["classes"]["data"]] == ["SCU", "UCU", "CU", "RU"]
    columns = ["arm", "metric", "value", "low", "high", "n", "unit", "method"]
    assert tables["arms"]["columns"] == columns
    assert len(tables["arms"]["data"]) == sum(len(item.metrics) for item in record().arms)


def holds(folder: Path, text: str) -> bool:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return any(text.encode() in path.read_bytes() for path in files)


def test_completions_stay_out_unless_asked_for(mirrored: Mirrored) -> None:
    assert mirrored.artifacts().keys() == {"run_table", "unitmap"}
    assert not holds(mirrored.place, SECRET)


def test_completions_go_along_on_request(tmp_path: Path) -> None:
    asked = Mirrored(tmp_path, completions=True)
    assert asked.artifacts()["completions"] == f"completions-{record().run_id}"
    assert holds(Path(os.environ["WANDB_DATA_DIR"]), SECRET)


def test_gaps_are_left_out_of_the_summary_and_not_written_as_zero() -> None:
    made = record(arms=[arm("aligned", 0.0, metrics={"asr": GAP})])
    assert flat_metrics(made) == {"aligned/asr/n": 0}


def test_a_measured_zero_is_kept() -> None:
    made = record(arms=[arm("aligned", 0.0)])
    assert flat_metrics(made)[f"aligned/asr/raw/{JUDGE}"] == 0.0
