"""What training a fifth of Llama-2-7B costs beside training all of it, on a CUDA device.

Without float32 masters, so that training all of it fits a card of 80 GB: 8 bytes a weight, 54 GB.
What both ways keep is added up in ``tests/cli/test_bench.py``, where no device is needed.
"""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest
import torch

from ssah_exp.cli import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# What a card sold as one of 80 GB has at least; all of the 7B shape must fit it.
ENOUGH = 80 * 10**9


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """The benchmark of a CUDA device as a run of this size is made, in two repeats."""
    arguments = ["--model", "llama2-7b", "--device", "cuda", "--repeats", "2"]
    arguments += ["--checkpointing", "--no-masters", "--format", "json"]
    with redirect_stdout(StringIO()) as said:
        assert main(["bench", "train", *arguments]) == 0
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def ratio(report: dict[str, Any], name: str) -> float:
    """Compact against full; a card that is too small for full is excused, a large one is not."""
    if report["arms"]["full"]["status"] != "done":
        memory = torch.cuda.get_device_properties(0).total_memory
        said = f"full: {report['arms']['full']['status']} on {memory / 1e9:.0f} GB"
        if memory >= ENOUGH:
            pytest.fail(f"{said}, which is enough for it")
        pytest.skip(f"{said}: nothing to compare with")
    return float(report["ratios"]["compact/full"][name]["median"])


def test_weights_gradients_and_states_of_a_fifth_fit_in_32_gb(report: dict[str, Any]) -> None:
    compact = report["arms"]["compact"]
    assert compact["status"] == "done"
    assert compact["trained_parameters"] == pytest.approx(
        0.2 * compact["unit_parameters"], rel=0.01
    )
    assert compact["static_memory"]["total"] <= 32 * 10**9


def test_peak_memory_is_less_than_half(report: dict[str, Any]) -> None:
    assert ratio(report, "peak_memory") <= 0.45


def test_training_is_a_fifth_faster(report: dict[str, Any]) -> None:
    assert ratio(report, "tokens_per_second") >= 1.20
