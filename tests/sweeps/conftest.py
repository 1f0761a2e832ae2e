"""One place with a tiny model and tiny data for all tests of sweeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.sweeps.tiny_sweep import Bench


@pytest.fixture(scope="package")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Its root holds the cache of seed 0."""
    bench = Bench.made(tmp_path_factory.mktemp("sweeps"))
    done = bench.run(*bench.arguments())
    assert done == 0
    return bench


@pytest.fixture
def bench(warm: Bench, tmp_path: Path) -> Bench:
    """The same with a root of its own that holds this cache and no runs."""
    root = tmp_path / "root"
    shutil.copytree(warm.root / "cache", root / "cache")
    return Bench(warm.place, root)
