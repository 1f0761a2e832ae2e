"""The arithmetic behind docs/scaling.md, against models with weights and sums made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssah_exp.bench.scaling import (
    BUDGET,
    EVALUATION,
    FULL,
    IDENTIFICATION,
    SHAPES,
    TASKS,
    Rates,
    Shape,
    Work,
    estimate,
    forward_flop,
    table,
    training_memory,
)
from ssah_exp.cli import main
from ssah_exp.config.schema import UnitsConfig
from ssah_exp.data.batching import WINDOW
from ssah_exp.models.logits import hidden_states
from tests import tiny

TINY = Shape(tiny.LAYERS, tiny.HIDDEN, tiny.NEURONS, tiny.HEADS, 2, tiny.VOCABULARY)
FAST = Rates(link=1e30, network=1e30)


def test_parameters_are_those_of_a_model() -> None:
    model = tiny.tiny_model("llama_gqa")
    assert TINY.parameters == model.num_parameters()
    anatomy = tiny.tiny_loaded("llama_gqa").anatomy
    assert TINY.channels == sum(
        anatomy.layers * anatomy.channels(kind) for kind in ("attention", "mlp")
    )


@pytest.mark.parametrize(("name", "billions"), [("7B", 6.738), ("13B", 13.016), ("70B", 68.977)])
def test_shapes_are_those_of_llama_2(name: str, billions: float) -> None:
    assert SHAPES[name].parameters / 1e9 == pytest.approx(billions, abs=0.001)


def test_flop_are_those_torch_counts() -> None:
    """torch counts the whole score matrix where a causal kernel computes half."""
    model = tiny.tiny_model("llama_gqa")
    ids, mask = tiny.padded([tiny.random_words(16, at) for at in range(3)])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        hidden_states(model, ids, mask)
    scores = 3 * 16 * 2 * 16 * TINY.hidden * TINY.layers
    without = forward_flop(TINY, 3 * 16, 16, head=False) - scores
    counted = {str(name): flop for name, flop in counter.get_flop_counts()["Global"].items()}
    assert counted["aten.mm"] == without


def test_identification_by_hand() -> None:
    """256 x 512 tokens of a 6.476-billion-weight decoder at 451 TFLOP/s with hooks."""
    shape = SHAPES["7B"]
    weights = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    flop = 256 * 512 * (2 * weights + 2 * 512 * 4096 * 32)
    found = estimate(IDENTIFICATION, shape, 1)
    assert found.seconds == pytest.approx(1.15 * flop / 451e12)
    assert found.exchange == 0


def test_moments_of_a_window_of_batches_are_held_on_one_gpu() -> None:
    assert Work().held == WINDOW * UnitsConfig().batch_size
    held, none = (
        estimate(IDENTIFICATION, SHAPES["7B"], 1, work=Work(held=count)).memory for count in (64, 0)
    )
    assert held - none == 64 * 32 * (4096 + 11008) * 16


def test_training_memory_by_hand() -> None:
    """Two bytes a weight, sixteen more for what is trained; a fifth of the blocks for a budget."""
    shape, work = SHAPES["7B"], Work(batch=1, length=0)
    assert training_memory(shape, 1, work, budget=False) == 18 * shape.parameters
    assert training_memory(shape, 1, work, budget=True) == pytest.approx(
        2 * shape.parameters + 16 * 0.2 * shape.block_parameters
    )
    gathered = 4 * shape.block_parameters / 32
    assert training_memory(shape, 8, work, budget=False) == pytest.approx(
        16 * shape.parameters / 8 + gathered
    )


def test_decoding_by_hand() -> None:
    """Step by step: all weights, and keys and values of the prompts and of what was said so far."""
    shape, at_once = SHAPES["7B"], Rates(forward=1e30)
    found = estimate(EVALUATION, shape, 1, at_once, Work(prompts=32, windows=0))
    token = 2 * 2 * 32 * 4096  # key and value of every block, two bytes each
    read = sum(2 * shape.parameters + 32 * token * (128 + said) for said in range(256))
    assert found.seconds == pytest.approx(read / (0.6 * 3.35e12), rel=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_without_exchange_eight_gpus_are_eight_times_as_fast_at_most(task: str) -> None:
    work = Work(prompts=32 * 64, windows=64, examples=4 * 64 * 10)
    times = [estimate(task, SHAPES["7B"], gpus, FAST, work).seconds for gpus in (8, 64)]
    assert None not in times
    seconds = [item for item in times if item is not None]
    assert 1 < seconds[0] / seconds[1] <= 8 + 1e-9


def test_exchange_counts() -> None:
    slow = Rates(link=1e9, network=1e9)
    for task in (IDENTIFICATION, FULL, BUDGET):
        found, free = (estimate(task, SHAPES["7B"], 8, rates) for rates in (slow, FAST))
        assert found.seconds is not None
        assert free.seconds is not None
        assert found.seconds > 2 * free.seconds
        assert found.exchange > free.exchange


def test_what_does_not_fit_has_no_time() -> None:
    whole = estimate(FULL, SHAPES["70B"], 1)
    assert whole.seconds is None
    assert whole.memory > 1e12
    assert estimate(FULL, SHAPES["70B"], 64).seconds is not None
    assert estimate(EVALUATION, SHAPES["70B"], 8).sharded
    assert not estimate(EVALUATION, SHAPES["7B"], 8).sharded
    large = replace(Rates(), card=2e12)
    assert estimate(FULL, SHAPES["70B"], 1, large).seconds is not None
    with pytest.raises(ValueError, match="Unknown task"):
        estimate("attack", TINY, 1)


def test_the_page_holds_what_the_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scaling"]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed == table()
    assert printed in Path("docs/scaling.md").read_text(encoding="utf-8")
    assert main(["scaling", "--card", "2e12"]) == 0
    assert "does not fit" not in capsys.readouterr().out
    assert main(["scaling", "--link", "0"]) == 2


def test_rates_beside_measured_curves_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were ignored: the report of the curves has rates of its own."""
    assert main(["scaling", "--growth", str(tmp_path / "growth.json"), "--card", "40e9"]) == 2
    assert "--card is not read with --growth" in capsys.readouterr().err
