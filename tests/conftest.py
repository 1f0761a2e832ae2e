"""Fixtures shared by all tests."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import FAMILIES

# Tiny tensors gain nothing from threads, and threads of other processes cost them a lot.
torch.set_num_threads(1)


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Every tiny family in turn."""
    return str(request.param)
