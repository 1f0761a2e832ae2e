"""Fixtures shared by all tests."""

from __future__ import annotations

import os

import pytest
import torch

from tests.tiny import FAMILIES

# Tiny tensors gain nothing from threads, and threads of other processes cost them a lot: those of
# another test process, and those of the children that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


# Files that take a worker longest: handed out first, so that no worker is left alone with one.
LONGEST = (
    "test_embedded.py",
    "ranks/test_ranks.py",
    "sweeps/test_local.py",
    "sweeps/test_storm.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; within a file, and among the others, tests keep their order."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every tiny family in turn."""
    return str(request.param)
