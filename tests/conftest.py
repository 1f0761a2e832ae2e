"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
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


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that a test saves, in order."""
    from matplotlib.figure import Figure  # takes a while, and few tests draw

    found: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: object, **named: object) -> None:
        found.append(self)
        save(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The same, where nothing is laid out or written, which takes longer than to draw it."""
    from matplotlib.figure import Figure

    found: list[Figure] = []

    def keep(self: Figure, place: Path, **named: object) -> None:
        found.append(self)
        place.touch()

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


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
