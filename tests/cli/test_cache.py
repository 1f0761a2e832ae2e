"""`ssah-exp cache`: what lies there, what may go, and what stays."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ssah_exp import discarding
from ssah_exp.cache import MARKER, PARTIAL, Cache, Entry
from ssah_exp.cli import main
from ssah_exp.discarding import discard, last_use
from ssah_exp.errors import SsahWarning, StoreError
from ssah_exp.lock import Lock
from ssah_exp.owner import Owner
from ssah_exp.pipeline.kept import DAY, contents
from ssah_exp.records.record import StageRecord
from ssah_exp.records.store import RecordStore
from tests.records.synthetic import record

Capture = pytest.CaptureFixture[str]


def make(root: Path, stage: str, name: str, size: int = 1_000_000, days: float = 0.0) -> Entry:
    """An entry of one file, last used so many days ago."""
    cache = Cache(root / "cache")
    entry = cache.get_or_compute(
        stage, {"name": name}, lambda folder: _write(folder / "weights", size)
    )
    _age(entry.folder / MARKER, days)
    return entry


def unfinished(root: Path, stage: str, name: str, days: float = 0.0) -> Path:
    """A checkpoint of two megabytes that a killed run left."""
    folder = Cache(root / "cache").partial(stage, {"name": name})
    (folder / "deep").mkdir(parents=True)
    _write(folder / "deep" / "checkpoint", 2_000_000)
    for path in (folder / "deep" / "checkpoint", folder / "deep", folder):
        _age(path, days)
    return folder


def _write(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))


def _age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def name_in_record(root: Path, *entries: Entry) -> str:
    """A finished run whose record names the entries."""
    made = record(1)
    stages = [StageRecord(e.stage, e.key, False, 1.0, {}) for e in entries]
    RecordStore(root).write(replace(made, stages=stages))
    return f"{made.artefact}/{made.run_id}"


def prune(root: Path, *words: str) -> int:
    return main(["cache", "prune", *words, "--root", str(root)])


def shown(root: Path, capsys: Capture) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["cache", "show", "--format", "json", "--root", str(root)]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    return {stage.pop("stage"): stage for stage in stages}


def test_it_shows_what_every_stage_takes_and_what_no_run_names(
    tmp_path: Path, capsys: Capture
) -> None:
    name_in_record(tmp_path, make(tmp_path, "tune", "a", days=3))
    make(tmp_path, "tune", "b", size=5_000_000)
    unfinished(tmp_path, "tune", "c", days=7)
    make(tmp_path, "answers", "a", days=1)
    (tmp_path / "cache" / "judgements").mkdir()
    (tmp_path / "cache" / "judgements" / "paid.jsonl").write_text("{}")
    assert shown(tmp_path, capsys) == {
        "answers": {
            "entries": 1,
            "bytes": pytest.approx(1e6, rel=1e-3),
            "unnamed": 1,
            "unnamed_bytes": pytest.approx(1e6, rel=1e-3),
            "unfinished": 0,
            "unfinished_bytes": 0,
            "unused_days": [1.0, 1.0],
        },
        "tune": {
            "entries": 2,
            "bytes": pytest.approx(6e6, rel=1e-3),
            "unnamed": 1,
            "unnamed_bytes": pytest.approx(5e6, rel=1e-3),
            "unfinished": 1,
            "unfinished_bytes": 2_000_000,
            "unused_days": [0.0, 7.0],
        },
    }
    assert main(["cache", "show", "--root", str(tmp_path)]) == 0
    title, head, answers, tune = capsys.readouterr().out.splitlines()
    assert title.startswith(f"{tmp_path / 'cache'}: 0.01 GB; ")
    assert head.split()[:2] == ["stage", "entries"]
    assert answers.split()[0] == "answers"
    assert tune.split() == ["tune", "2", "0.01", "1", "0.01", "1", "0.00", "0.0", "to", "7.0"]


def test_it_deletes_only_when_told_to(tmp_path: Path, capsys: Capture) -> None:
    entry = make(tmp_path, "tune", "a", days=9)
    run = name_in_record(tmp_path, entry, entry)
    assert prune(tmp_path, "tune") == 0
    line, total = capsys.readouterr().out.splitlines()
    assert line == f"tune/{entry.key}  0.00 GB  unused for 9.0 days  {run}"
    assert total == "0.00 GB in 1 places would be freed; nothing is deleted without --yes"
    assert entry.folder.is_dir()
    assert prune(tmp_path, "tune", "--yes") == 0
    assert capsys.readouterr().out.endswith("0.00 GB in 1 places freed\n")
    assert list(entry.folder.parent.iterdir()) == []


def test_it_takes_the_stages_named_that_nobody_asked_for_lately(tmp_path: Path) -> None:
    old = make(tmp_path, "tune", "old", days=8)
    checkpoint = unfinished(tmp_path, "tune", "killed", days=8)
    newer = make(tmp_path, "tune", "newer", days=6)
    at_work = unfinished(tmp_path, "tune", "at work", days=6)
    other = make(tmp_path, "align", "old", days=8)
    assert prune(tmp_path, "tune", "--yes") == 0
    assert not old.folder.exists()
    assert not checkpoint.exists()
    assert all(path.is_dir() for path in (newer.folder, at_work, other.folder))
    assert prune(tmp_path, "tune", "--unused-for", "0", "--yes") == 0
    assert list((tmp_path / "cache" / "tune").iterdir()) == []
    assert other.folder.is_dir()


def test_what_was_found_again_counts_as_used(tmp_path: Path) -> None:
    found = make(tmp_path, "tune", "found", days=8)
    looked_up = make(tmp_path, "tune", "looked up", days=8)
    make(tmp_path, "tune", "left", days=8)
    again = Cache(tmp_path / "cache").get_or_compute("tune", {"name": "found"}, lambda _: None)
    assert again.cached
    Cache(tmp_path / "cache").find("tune", looked_up.key)
    assert prune(tmp_path, "tune", "--yes") == 0
    assert set((tmp_path / "cache" / "tune").iterdir()) == {found.folder, looked_up.folder}


def test_unnamed_leaves_what_records_name_and_folders_of_runs_share(
    tmp_path: Path, capsys: Capture
) -> None:
    named = make(tmp_path, "tune", "named", days=9)
    stray = make(tmp_path, "tune", "stray", days=9)
    delta = make(tmp_path, "delta", "shared", days=9)
    checkpoint = unfinished(tmp_path, "tune", "named", days=9)
    run = name_in_record(tmp_path, named)
    os.link(delta.folder / "weights", tmp_path / "runs" / run / "arm.safetensors")
    assert prune(tmp_path, "--unnamed", "--yes") == 0
    assert named.folder.is_dir()
    assert delta.folder.is_dir()
    assert not stray.folder.exists()
    assert not checkpoint.exists(), "its run was finished without it"
    capsys.readouterr()
    assert prune(tmp_path, "delta", "--yes") == 0
    line, total = capsys.readouterr().out.splitlines()
    assert line.endswith("a run's folder keeps it")
    assert total == "0.00 GB in 1 places freed"
    assert (tmp_path / "runs" / run / "arm.safetensors").stat().st_size == 1_000_000


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_record_that_cannot_be_read_hides_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, forbidden: bool
) -> None:
    entry = make(tmp_path, "tune", "a", days=9)
    place = tmp_path / "runs" / name_in_record(tmp_path, entry)
    (place / "record.json").write_text("{")
    look = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if path.name == "record.json":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    if forbidden:
        monkeypatch.setattr(Path, "stat", refuse)
    assert prune(tmp_path, "--unnamed", "--yes") == 2
    assert "record.json cannot be read" in capsys.readouterr().err
    assert entry.folder.is_dir()
    with pytest.warns(SsahWarning, match="count as nobody's"):
        contents(tmp_path, every_record=False)
    assert main(["cache", "show", "--root", str(tmp_path)]) == 0
    assert prune(tmp_path, "tune", "--yes") == 0
    assert not entry.folder.exists()


def test_a_run_without_a_record_yet_names_nothing(tmp_path: Path) -> None:
    entry = make(tmp_path, "tune", "a", days=9)
    (tmp_path / "runs" / "table2_freezing" / "at work" / "models").mkdir(parents=True)
    (tmp_path / "runs" / "a file").write_text("")
    (item,) = contents(tmp_path, every_record=True)
    assert (item.folder, item.runs, item.named) == (entry.folder, (), False)


WORKING = """
import sys, time
from pathlib import Path
from ssah_exp.cache import Cache
def compute(folder):
    print("computing", flush=True)
    time.sleep(60)
Cache(Path(sys.argv[1])).get_or_compute("tune", {"name": "at work"}, compute)
"""


def test_what_a_process_works_on_stays(tmp_path: Path, capsys: Capture) -> None:
    checkpoint = unfinished(tmp_path, "tune", "at work", days=9)
    words = [sys.executable, "-c", WORKING, str(tmp_path / "cache")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        assert prune(tmp_path, "tune", "--yes") == 0
        assert capsys.readouterr().out.endswith(
            "unfinished: left, in use\n0.00 GB in 0 places freed\n"
        )
        assert checkpoint.is_dir()
        process.kill()
    assert prune(tmp_path, "tune", "--yes") == 0
    assert not checkpoint.exists()


def test_what_was_used_since_it_was_looked_at_stays(tmp_path: Path) -> None:
    entry = make(tmp_path, "tune", "a", days=2)
    assert not discard(entry.folder, 0.0)
    assert not discard(entry.folder.with_name("no such"), 0.0)
    assert not discard(entry.folder.with_name(".partial-gone"), 0.0)
    assert entry.folder.is_dir()
    assert discard(entry.folder, (entry.folder / MARKER).stat().st_mtime)
    assert not entry.folder.exists()


def test_what_vanishes_while_it_is_looked_at_is_nothing(tmp_path: Path) -> None:
    gone = tmp_path / "cache" / "tune" / ".partial-gone"
    assert last_use(gone) is None
    assert last_use(gone.with_name("entry")) is None


def test_what_may_not_be_deleted_stays_whole_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A folder of somebody else's can be renamed and not emptied; the next is ours."""
    theirs = make(tmp_path, "align", "a", days=9)
    ours = make(tmp_path, "tune", "b", days=9)
    (theirs.folder / "deep").mkdir()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "deep" and may(path, mode))
    assert prune(tmp_path, "align", "tune", "--yes") == 1
    first, second, total = capsys.readouterr().out.splitlines()
    assert "left, " in first
    assert first.endswith("may not be changed by you.")
    assert second.startswith(f"tune/{ours.key}")
    assert "left" not in second
    assert total == "0.00 GB in 1 places freed"
    assert (theirs.folder / "weights").is_file()
    assert not ours.folder.exists()


def test_folders_that_come_and_go_meanwhile_are_no_error(tmp_path: Path) -> None:
    """A job that ends takes away what a walk was about to look into."""
    make(tmp_path, "tune", "a")
    stage, stop = tmp_path / "cache" / "tune", threading.Event()

    def churn() -> None:
        for number in itertools.cycle(range(20)):
            work = stage / f".work-node7-1-1-{number:08x}"
            (work / "deep" / "deeper").mkdir(parents=True)
            (work / "deep" / "deeper" / "file").write_text("x")
            shutil.rmtree(work)
            if stop.is_set():
                return

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            assert contents(tmp_path, every_record=True)
    finally:
        stop.set()
        thread.join()


def test_an_owner_who_comes_while_it_is_looked_at_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another node nothing is known of a process but that its file was written just now."""
    checkpoint = unfinished(tmp_path, "tune", "on node7", days=9)
    lock = checkpoint.with_name(f".lock-{checkpoint.name.removeprefix(PARTIAL)}")
    living = replace(Owner.me(), host="node7")

    def arrive(folder: Path) -> None:
        lock.mkdir()
        (lock / living.token).write_text(f"{living.to_json()}\n")

    monkeypatch.setattr(discarding, "_check_deletable", arrive)
    used = last_use(checkpoint)
    assert used is not None
    assert not discard(checkpoint, used)
    assert checkpoint.is_dir()
    assert [path.name for path in lock.iterdir()] == [living.token]


def test_what_dead_processes_left_over_goes_by_its_age(tmp_path: Path, capsys: Capture) -> None:
    stage = make(tmp_path, "tune", "a").folder.parent
    for name in (".work-node7-4026531836-4711-0123abcd", ".damaged-key-0123abcd"):
        (stage / name).mkdir()
        _write(stage / name / "half", 3_000_000)
        for path in (stage / name / "half", stage / name):
            _age(path, 8)
    assert shown(tmp_path, capsys)["tune"]["unfinished_bytes"] == 6_000_000
    held = stage / ".lock-other"
    with Lock(held, "something", print):  # whose work it is cannot be told
        assert prune(tmp_path, "tune", "--yes") == 0
        assert capsys.readouterr().out.count("left, in use") == 2
    assert prune(tmp_path, "tune", "--yes") == 0
    assert "0.01 GB in 2 places freed" in capsys.readouterr().out
    assert len(list(stage.iterdir())) == 1


def test_the_lock_of_a_dead_node_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = unfinished(tmp_path, "tune", "on node7", days=9)
    key = checkpoint.name.removeprefix(PARTIAL)
    dead = replace(Owner.me(), host="node7")
    lock = checkpoint.with_name(f".lock-{key}")
    lock.mkdir()
    (lock / dead.token).write_text(f"{dead.to_json()}\n")
    _age(lock / dead.token, 9)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    assert prune(tmp_path, "tune", "--yes") == 0
    assert list(checkpoint.parent.iterdir()) == []


def test_a_stage_may_be_empty(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path, "tune", "a", days=9)
    for freed in ("0.00 GB in 1 places freed\n", "0.00 GB in 0 places freed\n"):
        assert prune(tmp_path, "tune", "--yes") == 0
        assert capsys.readouterr().out.endswith(freed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Say what to delete"),
        (["tunes"], "has no stage 'tunes'. Did you mean 'tune'?"),
        (["judgements"], "has no stage 'judgements'"),
    ],
)
def test_it_asks_what_to_delete(
    tmp_path: Path, capsys: Capture, words: list[str], said: str
) -> None:
    entry = make(tmp_path, "tune", "a", days=9)
    (tmp_path / "cache" / "judgements").mkdir()
    assert prune(tmp_path, *words, "--yes") == 2
    assert said in capsys.readouterr().err
    assert entry.folder.is_dir()


@pytest.mark.parametrize("days", ["-1", "nan", "inf", "week"])
def test_days_are_days(tmp_path: Path, days: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        prune(tmp_path, "tune", f"--unused-for={days}")
    assert stopped.value.code == 2
    assert f"--unused-for: '{days}' is no number of days" in capsys.readouterr().err


def test_a_root_without_a_cache_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    assert main(["cache", "show", "--root", str(tmp_path)]) == 2
    assert "No cache at" in capsys.readouterr().err


def test_an_entry_that_was_deleted_says_how_to_get_it_back(tmp_path: Path) -> None:
    entry = make(tmp_path, "tune", "a", days=9)
    assert prune(tmp_path, "tune", "--yes") == 0
    with pytest.raises(StoreError, match="makes it anew if it is started again"):
        Cache(tmp_path / "cache").find("tune", entry.key)
