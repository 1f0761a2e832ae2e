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


def pytest_collection_finish() -> None:
    """What was imported stays: runs collect garbage, and need not look through half a million."""
    gc.collect()
    gc.freeze()
