"""A signal that comes amid a collection counts behind it."""

from __future__ import annotations

import gc
import os
import signal
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
