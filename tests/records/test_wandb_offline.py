"""The W&B tracker, offline: the run it leaves is read back and compared with the record."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.errors import ConfigError, StoreError
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.probe.curves import Curve
from ssah_exp.records.record import RunRecord, StageRecord
from ssah_exp.records.trackers import RunHead, WandbTracker
from ssah_exp.records.trackers.rows import flat_metrics, flat_shares
from ssah_exp.records.trackers.sweep import working_on
from ssah_exp.units.unitmap import UnitMap
from tests.records.run_folder import SECRET, run_folder
from tests.records.synthetic import JUDGE, arm, record, trained_arm, training_record
from tests.records.wandb_log import OfflineRun

GAP = Estimate(None, None, None, 0, "prompts", "Wilson 95%")
INFINITE = Estimate(math.inf, 1.0, math.inf, 3, "windows", "bootstrap")
pytestmark = pytest.mark.usefixtures("wandb_home")


def trained() -> RunRecord:
    """A training table whose arm has losses and a certificate."""
    certificate = {"changed_weights": 5, "frozen_sha256": "abc"}
    training = {"losses": [2.0, 1.5, 1.25], "policy": "freeze", "certificate": certificate}
    tuned = replace(trained_arm("setting_i", 0.3, 1.25), training=training)
    full = replace(trained_arm("full", 0.7, 1.2), training={"losses": [2.0, 1.2]})
    return training_record(arms=[trained_arm("aligned", 0.1), full, tuned])


def mirrored(made: RunRecord, root: Path, *deltas: str, **options: Any) -> OfflineRun:
    folder = run_folder(root / "runs" / made.artefact / made.run_id, *deltas)
    tracker = WandbTracker(mode="offline", **options)
    return OfflineRun(Path(tracker.mirror(made, folder, root)))


@pytest.fixture(scope="module")
def table1(tmp_path_factory: pytest.TempPathFactory, wandb_home: None) -> OfflineRun:
    return mirrored(record(), tmp_path_factory.mktemp("table1"))


@pytest.fixture(scope="module")
def table2(tmp_path_factory: pytest.TempPathFactory, wandb_home: None) -> OfflineRun:
    return mirrored(trained(), tmp_path_factory.mktemp("table2"), "setting_i")


def test_it_lies_where_wandb_sync_looks_for_it(table1: OfflineRun) -> None:
    assert table1.place.parent.name == "wandb"
    assert table1.place.name.startswith("offline-run-")
    assert table1.place.name.endswith(record().run_id)
    assert table1.exit_code == 0


def test_every_metric_has_its_interval_and_count(table1: OfflineRun) -> None:
    summary, expected = table1.summary(), {**flat_metrics(record()), **flat_shares(record())}
    assert summary["status"] == "done", "of a run that broke off before, it says why"
    assert {name: summary[name] for name in expected} == expected
    estimate = record().arms[2].metrics[f"asr/raw/{JUDGE}"]
    name = f"SCU/pooled/asr/raw/{JUDGE}"
    found = [summary[f"{name}{end}"] for end in ("", "/low", "/high", "/n")]
    assert found == [estimate.value, estimate.low, estimate.high, estimate.n]
    assert len(expected) == 4 * sum(len(item.metrics) for item in record().arms) + 4 * 5


def test_name_group_and_tags_come_from_run_id_and_experiment(table1: OfflineRun) -> None:
    run, model = table1.run, record().config["model"]["name"]
    assert (run.run_id, run.display_name) == (record().run_id, f"table1_pruning-{record().run_id}")
    assert (run.run_group, run.job_type) == ("table1_pruning", "table1_pruning")
    assert sorted(run.tags) == sorted(["table1_pruning", model, "bundled", "seed-0"])


def test_a_job_of_a_sweep_says_which_and_what_it_was_given(
    table1: OfflineRun, tmp_path: Path
) -> None:
    """Of two hundred runs that are called by their hashes."""
    folder = tmp_path / "sweeps" / "night" / "jobs" / "0007"
    folder.mkdir(parents=True)
    given = ["model=local", "units.budgets.scu=0.02", "model.source.repo_id=org/name"]
    places = ["data.root=/home/me", "paths.root=out", "+data.x.path=a.csv", "b=[x,'~/y']"]
    frozen = {"overrides": [*given, *places]}
    (folder / "job.json").write_text(json.dumps(frozen), encoding="utf-8")
    with working_on(folder):
        made = mirrored(record(), tmp_path)
    assert set(made.run.tags) == {*table1.run.tags, "sweep-night"}
    assert made.run.notes == " ".join(given)
    assert made.config().pop("sweep") == {"id": "night", "job": 7, "overrides": given}
    assert (table1.run.notes, "sweep" in table1.config()) == ("", False)
    with working_on(folder.parent):  # no job lies there: the run is shown as any other
        assert RunHead.of(record()).job is None
    assert RunHead.of(record()).notes is None


def test_the_config_is_the_records(table1: OfflineRun) -> None:
    config, made = table1.config(), record()
    assert {key: config[key] for key in made.config} == json.loads(json.dumps(made.config))
    assert (config["inputs"], config["provenance"]) == (made.inputs, made.provenance)
    assert config["record"]["models"] == made.models
    assert config["record"]["finished"] == made.finished
    assert config["record"]["judges"] == made.judges


def test_tables_are_the_records(table1: OfflineRun) -> None:
    tables, made = table1.tables(), record()
    assert tables.keys() == {"classes", "arms", "estimates", "stages"}
    assert tables["classes"] == [{"class": key, **row} for key, row in made.classes.items()]
    assert tables["estimates"] == [
        {"arm": item.name, "metric": name, **estimate.as_dict()}
        for item in made.arms
        for name, estimate in item.metrics.items()
    ]
    assert [row["name"] for row in tables["arms"]] == [item.name for item in made.arms]
    assert [row["parameter_share"] for row in tables["arms"]][:3] == [0.0, 0.0, 0.01]
    assert [row["draw"] for row in tables["arms"]] == [None, None, None, 0, 1, 2]


def test_files_are_found_from_wherever_they_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline, W&B notes where they lie; of a relative root, ``wandb sync`` elsewhere sent none."""
    monkeypatch.chdir(tmp_path)
    made = mirrored(record(), Path("outputs"))
    (artifact,) = made.artifacts().values()
    places = [Path(item.local_path) for item in artifact.manifest.contents if item.local_path]
    assert len(places) == 2
    assert all(place.is_absolute() and place.is_file() for place in places)


def test_loss_curves_stand_beside_each_other(table2: OfflineRun) -> None:
    rows = [row for row in table2.history() if "train_step" in row]
    assert [row["train_step"] for row in rows] == [0, 1, 2]
    assert [row.get("loss/setting_i") for row in rows] == [2.0, 1.5, 1.25]
    assert [row.get("loss/full") for row in rows] == [2.0, 1.2, None]


def test_losses_are_drawn_over_their_own_steps(table2: OfflineRun) -> None:
    """Otherwise W&B draws them over the count of rows that it was sent."""
    defined = [item.metric for item in table2.records if item.HasField("metric")]
    assert [(item.glob_name, item.step_metric) for item in defined if item.glob_name] == [
        ("loss/*", "train_step")
    ]


def test_a_pruning_run_makes_its_unitmap(table1: OfflineRun) -> None:
    (artifact,) = table1.artifacts().values()
    folder = table1.place.parent.parent / "runs/table1_pruning" / record().run_id
    metadata = json.loads(artifact.metadata)
    assert (artifact.name, artifact.type) == ("unitmap-SmolLM2-135M-Instruct-Q4_1", "unitmap")
    assert metadata["role"] == "made"
    assert metadata["sha256"] == UnitMap.checksum(folder / "unitmap")
    assert set(artifact.aliases) == {"latest", record().run_id}
    content = {item.path: item.local_path for item in artifact.manifest.contents}
    assert content.keys() == {"unitmap.json", "unitmap.safetensors"}
    assert all(Path(path).is_relative_to(folder) for path in content.values()), "no copies"


def test_a_training_run_uses_a_unitmap_and_makes_deltas(table2: OfflineRun) -> None:
    found = {name: json.loads(item.metadata) for name, item in table2.artifacts().items()}
    delta = found["delta-table2_freezing-setting_i"]
    units = found["unitmap-SmolLM2-135M-Instruct-Q4_1"]
    assert len(found) == 2
    assert (units["role"], delta["role"]) == ("used", "made")
    assert delta["unitmap_sha256"] == units["sha256"]
    assert delta["certificate"] == {"changed_weights": 5, "frozen_sha256": "abc"}
    assert (delta["run_id"], delta["policy"]) == (record().run_id, "freeze")
    assert table2.config()["record"]["certificates"]["setting_i"] == delta["certificate"]


def test_deltas_can_stay_out(tmp_path: Path) -> None:
    made = mirrored(trained(), tmp_path, "setting_i", deltas=False)
    assert list(made.artifacts()) == ["unitmap-SmolLM2-135M-Instruct-Q4_1"]


def holds(folder: Path, text: str) -> bool:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return any(text.encode() in path.read_bytes() for path in files)


def test_completions_stay_out_unless_asked_for(table1: OfflineRun) -> None:
    assert not any(name.startswith("completions") for name in table1.artifacts())
    assert not holds(table1.place, SECRET)
    assert not any("completions" in str(item) for item in table1.records)


def test_completions_go_along_on_request(tmp_path: Path) -> None:
    asked = mirrored(record(), tmp_path, completions=True).artifacts()
    (item,) = asked["completions-table1_pruning"].manifest.contents
    assert Path(item.local_path).read_text() == SECRET


def test_curves_are_a_table(tmp_path: Path) -> None:
    curve = Curve([0.5, None], [0.4, None], [0.6, None], 9, "requests", "bootstrap")
    made = record(arms=[arm("aligned", 0.1, curves={"cosine": curve})], classes={})
    tables = mirrored(made, tmp_path).tables()
    first = {"arm": "aligned", "curve": "cosine", "depth": 0, "value": 0.5, "low": 0.4, "high": 0.6}
    gap = {**first, "depth": 1, "value": None, "low": None, "high": None}
    assert tables["curves"] == [{**first, "n": 9}, {**gap, "n": 9}]
    assert "classes" not in tables


def test_gaps_are_left_out_and_infinity_stays(tmp_path: Path) -> None:
    made = record(arms=[arm("aligned", 0.0, metrics={"asr": GAP, "perplexity": INFINITE})])
    assert flat_metrics(made) == {
        "aligned/asr/n": 0,
        "aligned/perplexity": math.inf,
        "aligned/perplexity/low": 1.0,
        "aligned/perplexity/high": math.inf,
        "aligned/perplexity/n": 3,
    }
    summary = mirrored(made, tmp_path).summary()
    assert "aligned/asr" not in summary
    assert float(summary["aligned/perplexity"]) == math.inf


def test_a_measured_zero_is_kept() -> None:
    made = record(arms=[arm("aligned", 0.0)])
    assert flat_metrics(made)[f"aligned/asr/raw/{JUDGE}"] == 0.0


STAGE = StageRecord("align", "key", False, 1.5)
KILLED = """
import os, sys, time
from pathlib import Path
from ssah_exp.records.trackers import RunHead, WandbTracker
from tests.records.synthetic import record
from tests.records.test_wandb_offline import STAGE
live = WandbTracker(mode="offline").open(RunHead.of(record()), Path(sys.argv[1]))
for _ in range(1000):  # W&B writes block by block
    live.stage(STAGE)
log = next(Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb"))
deadline = time.monotonic() + 30
while b"progress/stages" not in log.read_bytes() and time.monotonic() < deadline:
    time.sleep(0.1)
os._exit(9)
"""


def test_a_killed_run_goes_on_with_the_same_id(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    # A service of its own, as another process has: one that is shared would keep the run open.
    alone = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=root,
        env={**alone, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 9
    (first,) = (tmp_path / "wandb").glob("offline-run-*")
    killed = OfflineRun(first, whole=False)
    assert {"progress/stages": 1, "progress/seconds": 1.5}.items() <= killed.history()[0].items()

    live = WandbTracker(mode="offline").open(RunHead.of(record()), tmp_path)
    assert live is not None
    live.stage(replace(STAGE, cached=True))
    second = OfflineRun(Path(live.finish(record(), tmp_path / "none")))
    assert second.place != first
    assert killed.run.run_id == second.run.run_id == record().run_id
    assert flat_metrics(record()).items() <= second.summary().items()
    assert second.stats(), "the load of the machine that computes is shown"


def test_neither_machine_nor_user_is_named(table1: OfflineRun) -> None:
    assert table1.run.host == "-"
    made = [item.environment for item in table1.records if item.HasField("environment")]
    assert not any(item.host for item in made)


def test_a_late_mirror_shows_no_load(table1: OfflineRun) -> None:
    assert not table1.stats()


def test_a_run_that_breaks_off_is_left_as_failed(tmp_path: Path) -> None:
    live = WandbTracker(mode="offline").open(RunHead.of(record()), tmp_path)
    assert live is not None
    for name in ("align", "answers"):
        live.stage(replace(STAGE, name=name))
    live.stop("stopped: KeyboardInterrupt")
    (place,) = (tmp_path / "wandb").glob("offline-run-*")
    made = OfflineRun(place)
    assert made.exit_code == 1
    assert [row["progress/stages"] for row in made.history()] == [1, 2]
    assert made.summary()["progress/last"] == "answers"
    assert made.summary()["status"] == "stopped: KeyboardInterrupt"


def test_each_project_and_mode_is_a_place_of_its_own() -> None:
    """What lies in offline files, or was sent to another project, is still to be sent here."""
    options: list[dict[str, Any]] = [{}, {"project": "other"}, {"mode": "online"}]
    assert [WandbTracker(**{"mode": "offline", **given}).key for given in options] == [
        "wandb-ssah-exp-offline",
        "wandb-other-offline",
        "wandb-ssah-exp-online",
    ]


def test_live_can_be_turned_off(tmp_path: Path) -> None:
    assert WandbTracker(mode="offline", live=False).open(RunHead.of(record()), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "wandb").write_text("a file")
    with pytest.raises(StoreError, match="a file lies where a folder is needed"):
        WandbTracker(mode="offline").mirror(record(), tmp_path, tmp_path)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(tmp_path)],
        check=False,
        capture_output=True,
    )
    if mount.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        (tmp_path / "wandb").mkdir()
        (tmp_path / "rest").write_bytes(bytes(12 * 1024))
        with pytest.raises(StoreError, match="the disk is full"):
            WandbTracker(mode="offline").mirror(record(), tmp_path, tmp_path)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("mode", "online"),
    [
        ("online", True),
        ("ONLINE", True),
        ("", True),
        ("shared", True),
        ("offline", False),
        ("dryrun", False),
        ("disabled", False),
        (None, True),
    ],
)
def test_what_wandb_is_told_by_its_own_variable_holds(
    monkeypatch: pytest.MonkeyPatch, mode: str | None, online: bool
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    assert WandbTracker().online is online
    assert WandbTracker(mode="online").online


def test_an_empty_variable_is_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B would refuse a mode without a name, by a page about its settings."""
    monkeypatch.setenv("WANDB_MODE", "")
    made = record(run_id="e" * 12)  # the others' run may still be open
    WandbTracker(mode="offline").mirror(made, tmp_path, tmp_path)
    assert [*(tmp_path / "wandb").glob(f"offline-run-*-{made.run_id}")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "ofline"}, "Did you mean 'offline'"),
        ({"timeout": 0}, "timeout=0 must be above 0"),
        ({"patience": -1.0}, "patience=-1.0 must be above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WandbTracker(**options)
