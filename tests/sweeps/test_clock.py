"""A clock that was ahead: the newest sweep by its time need not be the one launched last."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.sweeps.folder import Sweep, open_sweep
from ssah_exp.sweeps.state import INTERRUPTED, JobState
from tests.sweeps.frozen import sweep_of

Capture = pytest.CaptureFixture[str]


def created(sweep: Sweep, ahead: timedelta) -> str:
    """Have a sweep say that it was launched then."""
    time = (datetime.now(UTC) + ahead).isoformat(timespec="seconds")
    plan = {**sweep.plan(), "created": time}
    (sweep.folder / "sweep.json").write_text(json.dumps(plan))
    return time


def test_no_sweep_is_cancelled_or_run_in_place_of_the_one_just_launched(
    tmp_path: Path, capsys: Capture
) -> None:
    sweep = sweep_of(tmp_path, 1)
    sweep.job(0).save(JobState(INTERRUPTED))
    time = created(sweep, timedelta(hours=2))
    root = ["--root", str(tmp_path)]
    assert main(["cancel", *root]) == 0, "the only one there is"
    assert sweep.job(0).cancelled
    sweep.job(0).cancel(False)
    open_sweep(tmp_path / "sweeps" / "noon", "local", {}, {"digest": "x"})
    capsys.readouterr()
    for command in ("cancel", "retry-failed"):
        assert main([command, *root]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"ssah-exp: Sweep night is of {time}, which is still to come: ")
        assert "Name the one you mean" in said
    assert not sweep.job(0).cancelled
    assert main(["status", *root]) == 0
    said = capsys.readouterr().out
    assert f"note: Sweep night is of {time}, which is still to come: a clock was wrong" in said
    assert main(["cancel", "night", *root]) == 0
    assert sweep.job(0).cancelled


def test_a_newest_sweep_of_the_past_needs_no_name(tmp_path: Path, capsys: Capture) -> None:
    sweep = sweep_of(tmp_path, 1)
    sweep.job(0).save(JobState(INTERRUPTED))
    older = open_sweep(tmp_path / "sweeps" / "noon", "local", {}, {"digest": "x"})
    created(older, timedelta(hours=-2))
    assert main(["cancel", "--root", str(tmp_path)]) == 0
    assert sweep.job(0).cancelled
    assert main(["status", "--root", str(tmp_path)]) == 0
    assert "note" not in capsys.readouterr().out
