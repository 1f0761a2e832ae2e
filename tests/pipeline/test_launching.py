"""What torch and the processes of one run read from the environment."""

from __future__ import annotations

import os
import signal

import pytest
from torch.distributed.launcher.api import LaunchConfig

from ssah_exp.errors import RankError
from ssah_exp.pipeline.launching import SECONDS_TO_END, run_processes


def test_ranks_share_the_cores_of_an_allocation_and_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next job of a sweep may have another number of ranks."""
    seen: list[str] = []
    names = ("OMP_NUM_THREADS", "PYTHONFAULTHANDLER", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(
        "torch.distributed.launcher.api.elastic_launch",
        lambda *given: lambda *arguments: seen.append(os.environ["OMP_NUM_THREADS"]),
    )
    for count in (2, 16):
        run_processes(count, [])
    assert seen == ["4", "1"]
    assert not set(names) & os.environ.keys()

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_processes(2, [])
    assert seen[-1] == os.environ["OMP_NUM_THREADS"] == "3", "what a person set stays"


def test_ctrl_c_is_ours_again_once_the_processes_have_ended() -> None:
    """During the next job of a sweep it counted as a failure of that job, and the sweep went on."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    run_processes(1, ["-c", "pass"])
    assert [signal.getsignal(number) for number in numbers] == before
    with pytest.raises(RankError, match="exit code 5"):
        run_processes(1, ["-c", "raise SystemExit(5)"])
    assert [signal.getsignal(number) for number in numbers] == before


def test_ranks_have_the_time_to_write_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[LaunchConfig] = []
    monkeypatch.delenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", raising=False)
    monkeypatch.setattr(
        "torch.distributed.launcher.api.elastic_launch",
        lambda config, program: lambda *arguments: given.append(config),
    )
    run_processes(2, [])
    assert getattr(given[0], "shutdown_timeout", SECONDS_TO_END) == SECONDS_TO_END > 30
