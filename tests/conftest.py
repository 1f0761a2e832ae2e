"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import FAMILIES

# Tiny tensors gain nothing from threads, and threads of other processes cost them a lot.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The end-to-end run on the embedded model takes minutes, and so comes first."""
    items.sort(key=lambda item: item.path.name != "test_embedded.py")


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every tiny family in turn."""
    return str(request.param)
