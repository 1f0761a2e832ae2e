"""Files of a sweep that are damaged: what can be told is told, and nothing ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.cli import main
from ssah_exp.lock import held
from ssah_exp.sweeps import batch
from ssah_exp.sweeps.folder import Sweep
from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.report import end_of
from ssah_exp.sweeps.state import DONE, FAILED, QUEUED, JobState
from ssah_exp.sweeps.status import status_of
from tests.sweeps.frozen import sweep_of

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("key", "value"),
    [("options", None), ("options", []), ("launcher", None), ("code", "x"), ("cwd", None)],
)
def test_a_plan_that_lacks_what_is_needed_is_one_message(
    tmp_path: Path, capsys: Capture, key: str, value: Any
) -> None:
    sweep = sweep_of(tmp_path, 1)
    path = sweep.folder / "sweep.json"
    plan = {**sweep.plan(), key: value}
    if value is None:
        del plan[key]
    path.write_text(json.dumps(plan))
    for command in ("retry-failed", "status", "cancel"):
        assert main([command, "--root", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert said == f"ssah-exp: Cannot read {path}: without a usable '{key}' it is damaged\n"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the jobs that a command runs; each of them fails."""
    numbers: list[int] = []

    def work(sweep: Sweep, job: Job, check: str | None) -> JobState:
        numbers.append(job.number)
        job.save(JobState(FAILED, error="once more"))
        return job.state()

    monkeypatch.setattr(batch, "work", work)
    monkeypatch.setattr("ssah_exp.commands.retry_failed.check_code", lambda *_: None)
    return numbers


def here(sweep: Sweep) -> None:
    """Have its jobs run in this process."""
    plan = {**sweep.plan(), "launcher": "batch"}
    (sweep.folder / "sweep.json").write_text(json.dumps(plan))


@pytest.mark.parametrize(
    "left", ["", "{", "[]", "{}", '{"overrides": "seed=1", "config": {}}', '{"config": {}}']
)
def test_a_damaged_job_hides_no_other(
    tmp_path: Path, capsys: Capture, ran: list[int], left: str
) -> None:
    """Not even `status` said how the others stood, and none of them could be run again."""
    sweep = sweep_of(tmp_path, 3)
    here(sweep)
    for job in sweep.jobs():
        given = {"overrides": ["x=0", f"seed={job.number}"], "config": {}}
        (job.folder / "job.json").write_text(json.dumps(given))
    (sweep.job(1).folder / "job.json").write_text(left)
    root = ["--root", str(tmp_path)]
    assert main(["status", *root]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[0][:3] == ["0", "missing", "seed=0"], "x=0 is what all the others share"
    assert shown[1] == ["1", "failed", "its", "frozen", "config", "is", "damaged"]
    assert shown[2][:3] == ["2", "missing", "seed=2"]
    assert main(["status", "--format", "json", *root]) == 0
    job = json.loads(capsys.readouterr().out)["jobs"][1]
    assert (job["status"], job["overrides"]) == ("failed", [])
    assert job["detail"] == "its frozen config is damaged"
    assert main(["retry-failed", *root]) == 1
    said = capsys.readouterr().err
    assert f"job 1 is left out, its frozen config is damaged: {sweep.job(1).folder}\n" in said
    assert ran == [0, 2]


def test_no_overrides_are_not_those_that_cannot_be_read(tmp_path: Path) -> None:
    job = sweep_of(tmp_path, 1).job(0)
    (job.folder / "job.json").write_text('{"overrides": [], "config": {}}')
    assert job.overrides() == []
    (job.folder / "job.json").write_text("{")
    assert job.overrides() is None


def test_a_damaged_job_that_is_done_or_may_be_cancelled_stays_so(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, 3)
    for job in sweep.jobs():
        (job.folder / "job.json").write_text("{")
    done = sweep.job(0)
    (done.folder / "record.json").touch()
    done.save(JobState(DONE, run_id="abc", folder="."))
    sweep.job(1).cancel()
    with held(sweep.lock, "sweep", print):
        found = status_of(sweep).standings
    assert [item.status for item in found] == [DONE, FAILED, QUEUED]
    assert [item.detail for item in found] == [
        "run abc; its frozen config is damaged",
        *["its frozen config is damaged"] * 2,
    ]


def test_nothing_is_promised_where_only_damaged_jobs_are_left(
    tmp_path: Path, capsys: Capture, ran: list[int]
) -> None:
    sweep = sweep_of(tmp_path, 1)
    here(sweep)
    (sweep.job(0).folder / "job.json").write_text("{")
    assert main(["retry-failed", "--root", str(tmp_path)]) == 1
    assert "nothing to run again" in capsys.readouterr().err
    assert ran == []
    assert end_of(sweep) == 1
    assert "go on" not in capsys.readouterr().err


@pytest.mark.parametrize("left", ["", "[]", "{}", '{"jobs": "two"}'])
def test_a_count_that_cannot_be_read_is_a_note(
    tmp_path: Path, capsys: Capture, ran: list[int], left: str
) -> None:
    sweep = sweep_of(tmp_path, 2)
    here(sweep)
    (sweep.folder / "jobs.json").write_text(left)
    assert main(["status", "--root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "2 jobs, 2 missing\nnote: Cannot read " in said
    assert said.endswith("It is not known whether sweep night lacks jobs.\n")
    assert main(["retry-failed", "--root", str(tmp_path)]) == 1
    assert "Going on with the jobs that are there" in capsys.readouterr().err
    assert ran == [0, 1]
    sweep.none_follow()
    assert sweep.uncounted() is None
