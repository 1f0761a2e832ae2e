"""What torch and the processes of one run read from the environment."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig

from ssah_exp.config.schema import RunConfig, TrainerConfig
from ssah_exp.errors import ENDED, INCOMPLETE_RANK, ConfigError, IncompleteError, RankError
from ssah_exp.pipeline.launching import SECONDS_TO_END, launch, run_processes


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


def ending_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """As torch's agent ends ranks; with real ones, tests of these take seconds each."""

    def end(*arguments: str) -> None:
        raise error

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda *given: end)


@pytest.mark.parametrize(
    ("exit_code", "error", "text"),
    [
        (2, RankError, "data.text is empty."),
        (INCOMPLETE_RANK, IncompleteError, "data.text is empty."),
        (1, RankError, "Process 1 failed with exit code 1: data.text is empty.. The others were"),
        (-9, RankError, "Process 1 was ended by signal SIGKILL: data.text is empty.. The others"),
        (ENDED, SystemExit, str(ENDED)),
    ],
)
def test_a_rank_says_why_it_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exit_code: int,
    error: type[BaseException],
    text: str,
) -> None:
    (said := tmp_path / "error.json").write_text(
        json.dumps({"message": {"message": "data.text is empty.", "extraInfo": {"timestamp": "1"}}})
    )
    failure = ProcessFailure(local_rank=1, pid=9, exitcode=exit_code, error_file=str(said))
    ending_with(monkeypatch, ChildFailedError("worker", {1: failure}))
    with pytest.raises(error) as caught:
        run_processes(2, [])
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("exit_code", "how"),
    [
        (2, "failed with exit code 2"),
        (INCOMPLETE_RANK, f"failed with exit code {INCOMPLETE_RANK}"),
        (-9, "was ended by signal SIGKILL"),
    ],
)
def test_a_rank_that_ended_without_a_word_is_given_none(
    monkeypatch: pytest.MonkeyPatch, exit_code: int, how: str
) -> None:
    """A library that ended a rank with 2 passed for a wrong option, by torch's advice alone."""
    failure = ProcessFailure(local_rank=1, pid=9, exitcode=exit_code, error_file="none")
    ending_with(monkeypatch, ChildFailedError("worker", {1: failure}))
    with pytest.raises(RankError, match=rf"^Process 1 {how}\. The others were ended with it"):
        run_processes(2, [])


def test_a_launcher_ends_as_it_was_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl+C ends a sweep, TERM has the code that a shell gives it."""
    ending_with(monkeypatch, SignalException("ended", signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run_processes(2, [])
    ending_with(monkeypatch, SignalException("ended", signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        run_processes(2, [])
    assert caught.value.code == 143


def test_several_machines_are_another_command() -> None:
    config = RunConfig(trainer=TrainerConfig(devices=4, num_nodes=2))
    with pytest.raises(ConfigError, match="torchrun --nnodes 2 --nproc-per-node 4 "):
        launch(config)
