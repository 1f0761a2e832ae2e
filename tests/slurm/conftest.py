"""One Slurm for all tests, one tiny model, a cache that the jobs share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import cluster
from tests.sweeps.tiny_sweep import Bench


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running cluster; ``SLURM_CONF`` points to it."""
    lacking = cluster.missing()
    if lacking or os.geteuid() != 0:
        pytest.skip(f"needs root and Slurm; missing: {', '.join(lacking) or 'root'}")
    place = tmp_path_factory.mktemp("slurm")
    os.environ["SLURM_CONF"] = str(cluster.start(place))
    yield place
    os.environ.pop("SLURM_CONF")
    cluster.stop(place)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Its root holds the cache of seed 0."""
    bench = Bench.made(tmp_path_factory.mktemp("sweeps"))
    assert bench.call(*bench.arguments()).returncode == 0
    return bench


@pytest.fixture
def bench(slurm: Path, warm: Bench, tmp_path: Path) -> Bench:
    """The same with a root of its own."""
    root = tmp_path / "root"
    shutil.copytree(warm.root / "cache", root / "cache")
    return Bench(warm.place, root)
