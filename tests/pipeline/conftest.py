"""One finished tiny run for all tests of the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ssah_exp.pipeline.opened import Finished
from tests.pipeline.tiny_run import furnish, run, tiny_config


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine, threads that wait for each other cost a tiny model a minute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and tiny data."""
    return furnish(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="package")
def finished(place: Path) -> Finished:
    """The first run."""
    return run(tiny_config(place))
