"""A worker that is ended while a library tidies up has been ended; its job has not failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.sweeps.job import Job
from ssah_exp.sweeps.state import FAILED, INTERRUPTED
from ssah_exp.sweeps.worker import work
from tests.endings import half_done
from tests.sweeps.frozen import sweep_of


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_end_of_a_worker_behind_an_error_is_no_failure(
    ending: type[BaseException], wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(tmp_path, 1)
    monkeypatch.setattr(Job, "config", lambda _: half_done(ending(), wrapped=wrapped))
    with pytest.raises(ending):
        work(sweep, sweep.job(0))
    assert sweep.job(0).state().status == INTERRUPTED


def test_an_error_of_its_own_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of(tmp_path, 1)
    monkeypatch.setattr(Job, "config", lambda _: half_done(ValueError("before")))
    assert work(sweep, sweep.job(0)).status == FAILED
    assert sweep.job(0).state().error == "AttributeError: half done"
