"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from tests.plugins import install  # noqa: F401  # a fixture of many modules
from tests.tiny import FAMILIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tiny tensors gain nothing from threads, and threads of other processes cost them a lot: those of
# another test process, and those of the children that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def at_a_terminal() -> Iterator[None]:
    """Ctrl+C as Python has it; where tests run in the background, it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _saved(monkeypatch: pytest.MonkeyPatch, save: Callable[..., object]) -> list[Figure]:
    """The figures that a test saves from now on, in order, each by ``save``."""
    from matplotlib.figure import Figure

    found: list[Figure] = []

    def keep(self: Figure, *arguments: object, **named: object) -> None:
        found.append(self)
        save(self, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test saves, in order."""
    from matplotlib.figure import Figure  # takes a while, and few tests draw

    return _saved(monkeypatch, Figure.savefig)


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The same, where nothing is laid out or written, which takes longer than to draw it."""
    return _saved(monkeypatch, lambda figure, place, **named: place.touch())


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every tiny family in turn."""
    return str(request.param)


@pytest.fixture(autouse=True, scope="module")
def what_is_there_stays() -> None:
    """Runs collect garbage, a tenth of a second each time if they look through all libraries.

    Many of them are imported by some test, after the others were collected.
    """
    gc.collect()
    gc.freeze()
