"""The paper's own files, where a machine has them (``SSAH_DATA_ROOT``)."""

from __future__ import annotations

import os

import pytest

from ssah_exp.data.datasets import RunData, load_data
from tests.config.composing import composed, parse

ROOT = os.environ.get("SSAH_DATA_ROOT")
pytestmark = pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")


@pytest.fixture(scope="module")
def data() -> RunData:
    return load_data(parse(composed("data=paper_files", f"data.root='{ROOT}'")))


def test_the_sets_have_the_published_sizes(data: RunData) -> None:
    assert {name: len(rows) for name, rows in data.example_sets.items()} == {
        "alignment": 1000,
        "safety_calibration": 128,
        "utility_calibration": 128,
        "harmful_eval": 100,
        "benign_eval": 100,
        "borderline_eval": 250,
    }
    assert len(data.text.split()) > 200_000


def test_prompts_are_requests_without_chat_tags(data: RunData) -> None:
    for rows in data.example_sets.values():
        assert all(row.prompt and "[INST]" not in row.prompt for row in rows)
    trained = (*data.alignment, *data.safety_calibration, *data.utility_calibration)
    assert all(row.response for row in trained)
