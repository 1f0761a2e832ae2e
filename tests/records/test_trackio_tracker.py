"""The trackio tracker: what its database holds is the record."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.errors import ConfigError, StoreError, TrackerError
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers import RunHead, TrackioTracker, trackio_tracker
from tests.records.run_folder import run_folder
from tests.records.synthetic import record, trained_arm, training_record


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where trackio writes: it decides so once in a process, so all tests share it."""
    if find_spec("trackio") is None:  # importing it here would decide where it writes
        pytest.skip("the extra 'trackio' is not installed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield trackio_tracker._place(Path())


def rows(project: str, run: str) -> list[dict[str, Any]]:
    from trackio.sqlite_storage import SQLiteStorage

    return list(SQLiteStorage.get_logs(project, run))


def test_the_database_holds_the_record(place: Path, tmp_path: Path) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    made, tracker = training_record(7), TrackioTracker(project="read-back")
    project, name = "read-back-table2_freezing", f"table2_freezing-{made.run_id}"
    live = tracker.open(RunHead.of(made), tmp_path)
    assert live is not None
    live.stage(StageRecord("align", "key", False, 1.5))
    shown = live.finish(made, run_folder(tmp_path / "run", "setting_i"))
    assert Path(shown) == place

    logged = rows(project, name)
    assert logged[0]["progress/seconds"] == 1.5
    charts = next(row for row in logged if "full/perplexity" in row)
    for arm in made.arms:
        for metric, estimate in arm.metrics.items():
            expected = None if arm.control else estimate.value
            assert charts.get(f"{arm.name}/{metric}") == expected
    tables = next(row for row in logged if "estimates" in row)
    estimates = tables["estimates"]["_value"]
    assert estimates == [
        {"arm": arm.name, "metric": metric, **estimate.as_dict()}
        for arm in made.arms
        for metric, estimate in arm.metrics.items()
    ]
    config = SQLiteStorage.get_run_config(project, name)
    assert config is not None
    assert config["_Group"] == "table2_freezing"
    assert config["units.budgets.scu"] == made.config["units"]["budgets"]["scu"]
    assert config["seed"] == 7
    record_rows = {row["key"]: json.loads(row["value"]) for row in tables["record"]["_value"]}
    assert record_rows["finished"] == made.finished


def test_losses_stand_at_their_steps_and_a_rate_of_zero_is_drawn(
    place: Path, tmp_path: Path
) -> None:
    losses = {"full": [2.0, 1.5, 1.25], "setting_i": [3.0, 2.0]}
    trained = [
        replace(trained_arm(name, 0.3, 1.0), training={"losses": row})
        for name, row in losses.items()
    ]
    made = training_record(12, arms=[trained_arm("aligned", 0.0), *trained])
    live = TrackioTracker(project="curves").open(RunHead.of(made), tmp_path)
    assert live is not None
    for name in ("align", "answers"):
        live.stage(StageRecord(name, "key", False, 1.5))
    live.finish(made, tmp_path / "none")
    logged = rows("curves-table2_freezing", f"table2_freezing-{made.run_id}")
    for name, row in losses.items():
        drawn = [(item["step"], item[f"loss/{name}"]) for item in logged if f"loss/{name}" in item]
        assert drawn == list(enumerate(row))
    assert [item["progress/stages"] for item in logged if "progress/stages" in item] == [1, 2]
    (charts,) = [item for item in logged if "aligned/perplexity" in item]
    assert charts["aligned/asr/raw/zou2023"] == 0.0


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        ({}, ["delta", "unitmap"]),
        ({"deltas": False}, ["unitmap"]),
        ({"completions": True}, ["completions", "delta", "unitmap"]),
    ],
)
def test_artifacts_say_whose_they_are_and_answers_stay_out_unless_asked_for(
    place: Path, tmp_path: Path, wanted: dict[str, bool], kinds: list[str]
) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    made, prefix = training_record(13), "-".join(["lineage", *wanted])
    folder = run_folder(tmp_path / "run", "setting_i")
    TrackioTracker(project=prefix, **wanted).mirror(made, folder, tmp_path)
    project, name = f"{prefix}-table2_freezing", f"table2_freezing-{made.run_id}"
    run = SQLiteStorage.get_latest_run_record_by_name(project, name)
    assert run is not None
    links = SQLiteStorage.get_run_artifacts(project, name, run["id"])
    assert sorted(item["type"] for item in links["output"]) == kinds
    assert [item["type"] for item in links["input"]] == ["unitmap"]
    for item in links["output"]:
        kept = SQLiteStorage.get_artifact_manifest(project, item["name"], made.run_id)
        assert kept is not None
        assert kept["metadata"]["run_id"] == made.run_id
    config = SQLiteStorage.get_run_config(project, name)
    assert config is not None
    assert config["tags"] == RunHead.of(made).tags


@pytest.mark.parametrize("live", [False, True])
def test_a_record_that_is_sent_again_is_there_once(place: Path, tmp_path: Path, live: bool) -> None:
    made, tracker = training_record(8), TrackioTracker(project=f"again-{live}")
    for _ in range(2):
        shown = tracker.open(RunHead.of(made), tmp_path) if live else None
        if shown is None:
            tracker.mirror(made, tmp_path / "none", tmp_path)
        else:
            shown.finish(made, tmp_path / "none")
    from trackio.sqlite_storage import SQLiteStorage

    project, name = f"again-{live}-table2_freezing", f"table2_freezing-{made.run_id}"
    assert [item["name"] for item in SQLiteStorage.get_run_records(project)] == [name]
    logged = rows(project, name)
    for key in ("full/perplexity", "estimates"):
        assert sum(key in row for row in logged) == 1


def break_off(tracker: TrackioTracker, made: RunRecord, folder: Path) -> None:
    """Show the beginning of a run, up to Ctrl+C."""
    broken = tracker.open(RunHead.of(made), folder)
    assert broken is not None
    broken.stage(StageRecord("align", "key", False, 1.5))
    broken.stop("stopped: KeyboardInterrupt")


def test_a_run_that_broke_off_goes_on(place: Path, tmp_path: Path) -> None:
    made, tracker = record(8), TrackioTracker(project="resumed")
    break_off(tracker, made, tmp_path)
    live = tracker.open(RunHead.of(made), tmp_path)
    assert live is not None
    live.finish(made, tmp_path / "none")
    from trackio.sqlite_storage import SQLiteStorage

    project, name = "resumed-table1_pruning", f"table1_pruning-{made.run_id}"
    assert [item["name"] for item in SQLiteStorage.get_run_records(project)] == [name]
    logged = rows(project, name)
    assert sum("progress/seconds" in row for row in logged) == 1
    assert sum("aligned/perplexity" in row for row in logged) == 1


def test_a_record_takes_the_place_of_a_run_that_broke_off(place: Path, tmp_path: Path) -> None:
    """Sent later, it is not shown with the stages of the run that did not make it."""
    made, tracker = record(16), TrackioTracker(project="replaced")
    break_off(tracker, made, tmp_path)
    tracker.mirror(made, tmp_path / "none", tmp_path)
    logged = rows("replaced-table1_pruning", f"table1_pruning-{made.run_id}")
    assert not any("progress/seconds" in row for row in logged)
    assert sum("aligned/perplexity" in row for row in logged) == 1


def test_a_broken_off_run_is_closed(place: Path, tmp_path: Path) -> None:
    live = TrackioTracker(project="stopped").open(RunHead.of(record(9)), tmp_path)
    assert live is not None
    live.stop("stopped: KeyboardInterrupt")


def test_what_trackio_loses_is_an_error(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SQLiteStorage, "bulk_log", full)
    with pytest.raises(TrackerError, match="No space left on device"):
        TrackioTracker(project="full").mirror(record(10), tmp_path / "none", tmp_path)


def test_what_others_warn_of_loses_nothing_and_trackio_prints_nothing(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A deprecation in pandas; tables go where trackio would print its own lines."""
    from trackio.run import Run

    log = Run.log

    def warning(*arguments: Any, **named: Any) -> None:
        warnings.warn_explicit("old", DeprecationWarning, "/packages/pandas/frame.py", 1)
        log(*arguments, **named)

    monkeypatch.setattr(Run, "log", warning)
    TrackioTracker(project="warned").mirror(record(14), tmp_path / "none", tmp_path)
    assert capsys.readouterr().out == ""
    assert rows("warned-table1_pruning", f"table1_pruning-{record(14).run_id}")


def test_the_load_is_shown_of_the_machine_that_computes(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackio

    init, given = trackio.init, []

    def noted(**arguments: Any) -> Any:
        given.append((arguments["auto_log_cpu"], arguments["auto_log_gpu"]))
        return init(**arguments)

    monkeypatch.setattr(trackio, "init", noted)
    tracker = TrackioTracker(project="load")
    live = tracker.open(RunHead.of(record(15)), tmp_path)
    assert live is not None
    live.stop("stopped: KeyboardInterrupt")
    tracker.mirror(record(15), tmp_path / "none", tmp_path)
    assert given == [(None, None), (False, False)], "None is trackio's: where there is one"


def test_live_can_be_turned_off_and_each_project_has_notes_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    tracker = TrackioTracker(project="other", live=False)
    assert tracker.open(RunHead.of(record()), tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert tracker.key == "trackio-other"


def test_files_lie_below_the_root_wherever_trackio_s_threads_are_unless_told_otherwise(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", "mine")
    trackio_tracker._place(Path("outputs"))
    assert os.environ["TRACKIO_DIR"] == "mine"
    monkeypatch.delenv("TRACKIO_DIR")
    trackio_tracker._place(Path("outputs"))
    assert os.environ["TRACKIO_DIR"] == str(tmp_path / "outputs/trackio")


def test_a_run_whose_artifact_is_not_taken_does_not_stay_open(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trackio
    from trackio.context_vars import current_run

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError("unitmap")

    monkeypatch.setattr(trackio.Artifact, "add_file", gone)
    folder = run_folder(tmp_path / "run", "SCU")
    with pytest.raises(TrackerError, match="unitmap"):
        TrackioTracker(project="open").mirror(record(11), folder, tmp_path)
    assert current_run.get() is None


def test_a_place_that_cannot_be_made_is_said(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(trackio_tracker, "_place", lambda root: tmp_path / "file" / "trackio")
    with pytest.raises(StoreError, match="a file lies where a folder is needed"):
        TrackioTracker().mirror(record(), tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"])
@pytest.mark.parametrize("value", ["https://elsewhere.example?write_token=secret", ""])
def test_what_would_leave_this_machine_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """trackio takes a Space or a server from its environment, empty or not."""
    import trackio

    def sent(**_: object) -> None:
        raise AssertionError("begun")

    monkeypatch.setattr(trackio, "init", sent)
    monkeypatch.setenv(name, value)
    made, tracker = record(12), TrackioTracker(project="elsewhere")
    for begin in (
        lambda: tracker.open(RunHead.of(made), tmp_path),
        lambda: tracker.mirror(made, tmp_path / "none", tmp_path),
    ):
        with pytest.raises(TrackerError, match=f"unset {name}") as refused:
            begin()
        assert "secret" not in str(refused.value)


def test_a_missing_package_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackio_tracker, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ssah-exp\[trackio\]'"):
        TrackioTracker()
