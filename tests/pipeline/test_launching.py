"""What the processes of one run inherit."""

from __future__ import annotations

import os

import pytest

from ssah_exp.pipeline.launching import run_processes


def test_ranks_share_the_cores_of_an_allocation_and_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next job of a sweep may have another number of ranks."""
    seen: list[str] = []
    for name in ("OMP_NUM_THREADS", "PYTHONFAULTHANDLER"):
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
    assert not {"OMP_NUM_THREADS", "PYTHONFAULTHANDLER"} & os.environ.keys()

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    run_processes(2, [])
    assert seen[-1] == os.environ["OMP_NUM_THREADS"] == "3", "what a person set stays"
