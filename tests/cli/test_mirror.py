"""`ssah-exp mirror` and `ssah-exp wandb sync`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.errors import StoreError
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore
from ssah_exp.records.trackers import WandbTracker
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import DONE, JobState
from tests.records.synthetic import record, training_record

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = RecordStore(tmp_path)
    for made in (record(1), record(2), training_record(3)):
        store.write(made)
    return tmp_path


def test_csv_takes_all_and_then_nothing(root: Path, capsys: Capture) -> None:
    assert main(["mirror", "csv", "--root", str(root)]) == 0
    assert capsys.readouterr().out.endswith("3 mirrored, 0 there already, 0 failed, 0 not tried\n")
    assert len(list((root / "csv/estimates").iterdir())) == 3
    assert main(["mirror", "csv", "--root", str(root)]) == 0
    assert capsys.readouterr().out == "0 mirrored, 3 there already, 0 failed, 0 not tried\n"
    assert main(["mirror", "csv", "--again", "--root", str(root)]) == 0
    assert "3 mirrored" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    ["csv table1_pruning --again", "csv --again table1_pruning", "--again csv table1_pruning"],
)
def test_options_may_stand_before_what_may_be_left_out(
    root: Path, capsys: Capture, words: str
) -> None:
    """argparse alone refuses the second, on 3.11 to 3.13.0."""
    assert main(["mirror", *words.split(), "--root", str(root)]) == 0
    assert capsys.readouterr().out.endswith("2 mirrored, 0 there already, 0 failed, 0 not tried\n")


def test_a_place_does_not_speak_to_the_terminal(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [f"at\x1b]0;title\x07 {number}" for number in (1, 2, 3)]
    monkeypatch.setattr("ssah_exp.records.mirroring.Mirror.send", lambda *_, **__: found.pop())
    assert main(["mirror", "csv", "--root", str(root)]) == 0
    said = capsys.readouterr().out
    assert "at]0;title 1" in said
    assert not set("\x1b\x07") & set(said)


def test_the_sweep_of_a_run_is_looked_up(root: Path) -> None:
    """Its record does not know it; a run of no sweep has the keys it always had."""
    folder = root / "sweeps" / "night" / "jobs" / "0003"
    folder.mkdir(parents=True)
    (root / "sweeps" / "night" / "sweep.json").write_text("{}", encoding="utf-8")
    (folder / "job.json").write_text('{"overrides": ["seed=1"]}', encoding="utf-8")
    Job(folder).save(JobState(DONE, run_id=record(1).run_id))
    assert main(["mirror", "csv", "--root", str(root)]) == 0
    one, two = (
        (root / "csv" / "config" / f"{record(seed).run_id}.csv").read_text() for seed in (1, 2)
    )
    assert "sweep.id" not in two
    assert 'sweep.id,"""night"""' in one
    assert "sweep.job,3" in one


def test_of_sweeps_that_made_the_same_run_the_newest_is_shown(root: Path) -> None:
    """By the time of its launch: a folder may be called anything."""
    for day, name in enumerate(("night", "again"), start=1):
        folder = root / "sweeps" / name / "jobs" / "0000"
        folder.mkdir(parents=True)
        plan = {"created": f"2026-01-0{day}T00:00:00+00:00"}
        (root / "sweeps" / name / "sweep.json").write_text(json.dumps(plan), encoding="utf-8")
        (folder / "job.json").write_text('{"overrides": []}', encoding="utf-8")
        Job(folder).save(JobState(DONE, run_id=record(1).run_id))
    assert main(["mirror", "csv", record(1).run_id, "--root", str(root)]) == 0
    shown = (root / "csv" / "config" / f"{record(1).run_id}.csv").read_text()
    assert 'sweep.id,"""again"""' in shown


def test_artefacts_and_runs_can_be_chosen(root: Path, capsys: Capture) -> None:
    given = ["table2_freezing", record(1).run_id]
    assert main(["mirror", "csv", *given, "--root", str(root)]) == 0
    names = {path.stem for path in (root / "csv/estimates").iterdir()}
    assert names == {record(1).run_id, training_record(3).run_id}


def test_records_in_folders_are_taken_too(root: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "one.json").write_text(record(9).to_json())
    target = tmp_path / "elsewhere"
    assert main(["mirror", "csv", "--root", str(target), "--records", str(folder)]) == 0
    assert [path.stem for path in (target / "csv/arms").iterdir()] == [record(9).run_id]


def test_a_record_whose_name_leads_elsewhere_writes_nothing(
    root: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "one.json").write_text(record(9).to_json())
    (folder / "two.json").write_text(record(8, run_id="../../../taken").to_json())
    with pytest.warns(UserWarning, match="Skipping a record: .*run_id"):
        assert main(["mirror", "csv", "--root", str(root), "--records", str(folder)]) == 0
    assert not list(tmp_path.rglob("taken*"))


def test_wandb_sync_is_the_same_mechanism(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, bool, bool]] = []

    def mirror(self: WandbTracker, made: RunRecord, folder: Path, root: Path) -> str:
        seen.append((made.run_id, self.mode, self.completions, self.deltas))
        return "there"

    monkeypatch.setattr(WandbTracker, "mirror", mirror)
    sync = ["wandb", "sync", "table2_freezing", "--root", str(root)]
    assert main([*sync, "--offline"]) == 0
    assert main(["mirror", "wandb", "table2_freezing", "--offline", "--root", str(root)]) == 0
    assert len(seen) == 1
    assert main([*sync, "--completions", "--no-deltas"]) == 0, "online is another place"
    identifier = training_record(3).run_id
    assert seen == [(identifier, "offline", False, True), (identifier, "online", True, False)]


def test_without_a_key_nothing_is_lost_and_the_rest_is_not_tried(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    RecordStore(root).write(record(4))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert main(["wandb", "sync", "--root", str(root)]) == 1
    said = capsys.readouterr()
    assert said.out == "0 mirrored, 0 there already, 3 failed, 1 not tried\n"
    assert "No W&B key for api.wandb.ai" in said.err
    assert len(RecordStore(root).read("table1_pruning")) == 3


def test_where_one_was_sent_others_that_fail_keep_none_from_being_tried(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is right, then; it is those records that cannot be sent."""
    for seed in (4, 5):
        RecordStore(root).write(record(seed))
    answers = iter(["there", None, None, None, "there"])

    def send(*_: object, **__: object) -> str:
        if (place := next(answers)) is None:
            raise StoreError("a file of its folder is a link")
        return place

    monkeypatch.setattr("ssah_exp.records.mirroring.Mirror.send", send)
    assert main(["mirror", "csv", "--root", str(root)]) == 1
    assert capsys.readouterr().out.endswith("2 mirrored, 0 there already, 3 failed, 0 not tried\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["csv", "table2"], "No record of 'table2'"),
        (["csv", "--offline"], "--offline is for wandb"),
        (["csv", "--completions"], "--completions is for wandb and trackio"),
        (["csv", "--no-deltas"], "--no-deltas is for wandb and trackio"),
        (["csv", "--project", "mine"], "--project is for wandb and trackio"),
    ],
)
def test_what_cannot_be_is_refused(
    root: Path, capsys: Capture, given: list[str], message: str
) -> None:
    assert main(["mirror", *given, "--root", str(root)]) == 2
    assert message in capsys.readouterr().err


def test_no_record_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    assert main(["mirror", "csv", "--root", str(tmp_path)]) == 2
    assert "No record below" in capsys.readouterr().err
