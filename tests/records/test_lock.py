"""The lock: one holder at a time, dead owners replaced once, clocks left out of it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ssah_exp import lock
from ssah_exp.errors import StoreError
from ssah_exp.lock import Lock, _look, held, owner_of, seems_held
from ssah_exp.owner import Owner

QUICK = {"beat": 0.05, "patience": 0.5, "poll": 0.01}

COUNTING = """
import os, sys, time
from pathlib import Path
from ssah_exp.lock import Lock
place, times = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(times):
    with Lock(place / "lock", "counting", poll=0.001):
        inside = os.open(place / "inside", os.O_CREAT | os.O_EXCL)  # fails if somebody is in here
        count = int((place / "count").read_text())
        time.sleep(0.001)
        (place / "count").write_text(str(count + 1))
        os.close(inside)
        os.unlink(place / "inside")
"""


def leave_behind(folder: Path, owner: Owner) -> Path:
    """A lock as its owner made it, with nobody who keeps it alive."""
    folder.mkdir()
    file = folder / owner.token
    file.write_text(f"{owner.to_json()}\n")
    return file


def elsewhere(name: str = "node7") -> Owner:
    return replace(Owner.me(), host=name, token=f"token-of-{name}")


def dead() -> Owner:
    """A process of this machine that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return replace(Owner.me(), pid=child.pid, started=1, token="token-of-the-dead")


def test_processes_never_hold_it_together(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    arguments = [sys.executable, "-c", COUNTING, str(tmp_path), "25"]
    children = [subprocess.Popen(arguments) for _ in range(4)]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    assert (tmp_path / "count").read_text() == "100"
    assert {path.name for path in tmp_path.iterdir()} == {"count"}


def test_it_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Lock(tmp_path / "lock", "work"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_if_its_holder_is_interrupted_while_it_takes_over(tmp_path: Path) -> None:
    """This process lives on: whoever wants the lock next would wait for it for ever."""
    leave_behind(tmp_path / "lock", dead())

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Lock(tmp_path / "lock", "work", interrupt).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_if_no_thread_can_keep_it_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError, match="new thread"):
        Lock(tmp_path / "lock", "work").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_owner_of_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    leave_behind(tmp_path / "lock", dead())
    said: list[str] = []
    started = time.monotonic()
    with Lock(tmp_path / "lock", "work", said.append, patience=60):
        (file,) = (tmp_path / "lock").iterdir()
        owner = Owner.from_json(file.read_text().splitlines()[0])
        assert owner is not None
        assert (owner.pid, owner.token) == (os.getpid(), file.name)
    assert time.monotonic() - started < 5
    assert len(said) == 1
    assert said[0].endswith("died over work; taking over")
    assert list(tmp_path.iterdir()) == []


def test_a_pid_used_again_is_another_process() -> None:
    me = Owner.me()
    assert me.lives() is True
    assert replace(me, started=me.started + 1).lives() is False
    assert replace(me, boot="another boot").lives() is None, "a namesake, or a reboot: wait and see"
    assert replace(me, host="node7").lives() is None
    assert replace(me, space="pid:[1]").lives() is None, "a container with pids of its own"
    assert Owner.from_json(me.to_json()) == me


def test_another_users_hidden_process_is_not_taken_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``/proc`` mounted with hidepid=2, as on many clusters."""

    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    theirs = dead()
    monkeypatch.setattr(os, "kill", refuse)
    assert theirs.lives() is None, "its lock is watched for signs of life"


def test_an_owner_that_may_not_be_looked_at_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, with files of their own: to look again and again would never end."""
    leave_behind(tmp_path / "lock", elsewhere())
    looks: list[Path] = []

    def refuse(path: Path) -> bytes:
        looks.append(path)
        assert len(looks) < 50, "it spins"
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError), Lock(tmp_path / "lock", "work", **QUICK):
        pass
    assert seems_held(tmp_path / "lock")
    assert owner_of(tmp_path / "lock") is None


@pytest.mark.parametrize("jump", [-1e6, 0.0, 1e6])
def test_a_silent_owner_elsewhere_is_replaced_after_a_while_whatever_clocks_say(
    tmp_path: Path, jump: float
) -> None:
    file = leave_behind(tmp_path / "lock", elsewhere())
    os.utime(file, (time.time() + jump,) * 2)
    started = time.monotonic()
    with Lock(tmp_path / "lock", "work", **QUICK):
        assert time.monotonic() - started >= QUICK["patience"]


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_an_owner_elsewhere_that_shows_life_is_waited_for(tmp_path: Path, jump: float) -> None:
    """Its clock runs a week and a half off and never moves: the bytes do."""
    file = leave_behind(tmp_path / "lock", elsewhere())
    said: list[str] = []
    entered = threading.Event()

    def wait() -> None:
        with Lock(tmp_path / "lock", "work", said.append, **QUICK):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    for _ in range(30):  # three times its patience
        with file.open("ab") as stream:
            stream.write(b".")
        os.utime(file, (1e9 + jump,) * 2)
        assert not entered.wait(0.05)
    assert said == [f"waiting for process {os.getpid()} on node7, which works on work"]
    file.unlink()
    waiting.join(timeout=10)
    assert entered.is_set()


def test_a_holder_shows_life(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock", "work", **QUICK):
        (file,) = (tmp_path / "lock").iterdir()
        before = file.stat().st_size
        time.sleep(0.5)
        assert file.stat().st_size >= before + 3


def test_a_holder_shows_life_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Lock(tmp_path / "lock", "work", **QUICK), monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        before = _look(tmp_path / "lock")
        time.sleep(0.3)
        after = _look(tmp_path / "lock")
    assert before is not None
    assert after is not None
    assert before.pulse[0] == after.pulse[0]
    assert before.pulse != after.pulse


def test_who_seems_to_hold_it(tmp_path: Path) -> None:
    """Without looking on: by the process where it can be asked about, else by the file's time."""
    lock = tmp_path / "lock"
    assert not seems_held(lock)
    with Lock(lock, "work"):
        (file,) = lock.iterdir()
        os.utime(file, (1.0, 1.0))
        assert seems_held(lock), "this process lives"
    leave_behind(lock, dead())
    assert not seems_held(lock)
    file = leave_behind(tmp_path / "other", elsewhere())
    for silent, kept in ((60, True), (121, False)):
        os.utime(file, (time.time() - silent,) * 2)
        assert seems_held(tmp_path / "other") == kept
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "other"}


def test_of_many_who_see_a_dead_owner_one_takes_over(tmp_path: Path) -> None:
    leave_behind(tmp_path / "lock", elsewhere())
    said: list[str] = []
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with Lock(tmp_path / "lock", "work", said.append, **{**QUICK, "patience": 0.3}):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with guard:
                inside -= 1

    crowd = [threading.Thread(target=work) for _ in range(12)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(timeout=30)
    assert most == 1
    assert sum("taking over" in line for line in said) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_owner_taken_for_dead_leaves_the_next_one_alone(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock", "work", beat=60):
        (file,) = (tmp_path / "lock").iterdir()
        taken = leave_behind(tmp_path / "other", elsewhere())
        file.rename(taken.with_name("kept"))  # as a take-over does
        taken.rename(tmp_path / "lock" / taken.name)
    assert [path.name for path in (tmp_path / "lock").iterdir()] == [taken.name]


def test_whoever_waits_looks_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look of each waiting job made a folder and a file, and removed both."""
    leave_behind(tmp_path / "lock", elsewhere())
    made: list[Path] = []
    monkeypatch.setattr(Path, "mkdir", lambda path, **_: made.append(path))
    with Lock(tmp_path / "lock", "work", patience=0.3, poll=0.02):
        assert made == []


def test_a_lock_that_cannot_be_taken_nor_seen_is_waited_for_without_haste(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(lock.time, "sleep", sleep)
    monkeypatch.setattr(Lock, "_take", lambda self, me: False)
    with pytest.raises(KeyboardInterrupt), Lock(tmp_path / "lock", "work", poll=0.5):
        pytest.fail("taken")
    assert slept == [0.5] * 3


def test_a_place_that_may_not_be_written_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`retry-failed` on a colleague's sweep ended with a traceback."""

    def forbidden(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with (
        pytest.raises(StoreError, match="read-only or forbidden"),
        held(tmp_path / "a", "a", print),
    ):
        pytest.fail("taken")
