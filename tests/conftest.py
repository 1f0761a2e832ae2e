"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest
import torch

from tests.plugins import install  # noqa: F401  # a fixture of many modules
from tests.tiny import FAMILIES

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
