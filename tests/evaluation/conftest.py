"""What tests of endpoints share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.evaluation.endpoint_judge import KEY
from tests.evaluation.misbehaving import Endpoint, endpoint


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A server that misbehaves as told, past any proxy; its key lies in ``THE_API_KEY``."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("THE_API_KEY", KEY)
    with endpoint() as running:
        yield running
