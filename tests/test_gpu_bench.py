"""What training a fifth of Llama-2-7B costs beside training all of it, on a CUDA device."""

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


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """The default benchmark of a CUDA device, in two repeats."""
    arguments = ["--model", "llama2-7b", "--device", "cuda", "--repeats", "2"]
    with redirect_stdout(StringIO()) as said:
        assert main(["bench", "train", *arguments, "--format", "json"]) == 0
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def ratio(report: dict[str, Any], name: str) -> float:
    if report["arms"]["full"]["status"] != "done":
        pytest.skip("training all of Llama-2-7B does not fit this device: nothing to compare with")
    return float(report["ratios"]["compact/full"][name]["median"])


def test_weights_masters_gradients_and_states_of_a_fifth_fit_in_32_gib(
    report: dict[str, Any],
) -> None:
    compact = report["arms"]["compact"]
    assert compact["status"] == "done"
    assert compact["trained_parameters"] == pytest.approx(
        0.2 * compact["unit_parameters"], rel=0.01
    )
    assert compact["static_memory"]["total"] <= 32 * 2**30


def test_peak_memory_is_less_than_half(report: dict[str, Any]) -> None:
    assert ratio(report, "peak_memory") <= 0.45


def test_training_is_a_fifth_faster(report: dict[str, Any]) -> None:
    assert ratio(report, "tokens_per_second") >= 1.20
