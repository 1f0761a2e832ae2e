"""A signal that comes amid a collection counts behind it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from ssah_exp.pipeline.garbage import collect_garbage


class _Circle:
    """Garbage that is signalled while it is collected, as a long collection may be."""

    def __init__(self, number: int) -> None:
        self.number, self.itself = number, self

    def __del__(self) -> None:
        os.kill(os.getpid(), self.number)
        for _ in range(1000):  # a handler runs between two lines of Python
            pass


@pytest.fixture(autouse=True)
def _as_before(at_a_terminal: None) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    signal.signal(signal.SIGTERM, before)


def test_ctrl_c_is_swallowed_by_a_bare_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next test rests on."""
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: dropped.append(said.exc_type))
    _Circle(signal.SIGINT)
    gc.collect()
    assert dropped == [KeyboardInterrupt]


def test_ctrl_c_counts_behind_the_collection() -> None:
    handler = signal.getsignal(signal.SIGINT)
    _Circle(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        collect_garbage()
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_workers_end_counts_behind_the_collection() -> None:
    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, end)
    _Circle(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        collect_garbage()
    assert ended.value.code == 143


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Circle(signal.SIGINT)
    collect_garbage()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("triton", [False, True])
def test_what_stayed_is_let_go_at_the_end_where_triton_counts_it(triton: bool) -> None:
    script = (
        "import atexit, gc, sys, types\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))  # the first is called last\n"
        "from ssah_exp.pipeline.garbage import imports_stay\n"
        "with imports_stay(): import json.tool\n"
        "assert gc.get_freeze_count() > 0\n"
        "sys.modules.pop('triton', None)\n"
        f"if {triton}: sys.modules['triton'] = types.ModuleType('triton')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{not triton}\n"
