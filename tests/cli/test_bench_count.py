"""What a step takes, counted without numbers: as much as with them, and what sizes add up to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ssah_exp.bench.arm import time_arm
from ssah_exp.bench.counting import count_arm
from ssah_exp.bench.live import LiveMemory
from ssah_exp.bench.models import LLAMA_SIZES, random_llama
from ssah_exp.bench.settings import ARMS, BenchSettings, complete_count
from ssah_exp.bench.steps import make_batches, plan_of, ready, started
from ssah_exp.cli import main
from ssah_exp.errors import ConfigError
from tests.cli.test_bench import ALL, UNITS

WIDTH, VOCABULARY = 64, 64


def settings_of(**given: Any) -> BenchSettings:
    small = {"model": "tiny", "batch": 2, "length": 16, "precision": "float32"}
    return complete_count({**small, **given})


# --- the meter ---


def test_what_is_alive_is_counted_once_and_forgotten_when_it_goes() -> None:
    with LiveMemory() as memory:
        first = torch.zeros(1000)
        view = first.view(10, 100)[2:]
        assert memory.now == 4000
        second = first + 1
        assert (memory.now, memory.peak) == (8000, 8000)
        del second
        assert (memory.now, memory.peak) == (4000, 8000)
        del first
        assert memory.now == 4000, "a view keeps it"
        memory.restart()
        assert memory.peak == 4000
        del view
    assert memory.now == 0


def test_storages_that_change_their_size_are_looked_at_again() -> None:
    with LiveMemory() as memory:
        held = torch.zeros(1000)
        held.untyped_storage().resize_(0)
        memory.restart()
        assert (memory.now, memory.peak) == (0, 0)
        held.untyped_storage().resize_(4000)
        held.zero_()
        assert memory.peak == 4000


# --- the arms ---


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_static_memory_is_that_of_a_step_with_numbers(arm: str, precision: str) -> None:
    settings = settings_of(precision=precision)
    counted, real = count_arm(settings, None, arm), time_arm(settings, None, arm)
    for name in ("static_memory", "parameters", "unit_parameters", "trained_parameters"):
        assert counted[name] == real[name], name


def with_numbers(settings: BenchSettings, arm: str) -> tuple[int, int]:
    """Peak memory and floating-point operations of the second step of real tensors."""
    ids, counted = make_batches(settings, VOCABULARY)
    plan = plan_of(llama(settings), ARMS[arm].policy, settings)
    assert all(len(item.rest) < item.size for item in plan.slices)  # found before, as there
    with LiveMemory() as memory:
        model = ready(llama(settings), settings)
        with started(model, plan, arm, counted, settings) as training:
            training.first_step(ids[0])
            memory.restart()
            training.gradients(ids[1])
            training.update()
            peak = memory.peak
            with FlopCounterMode(display=False) as products:
                training.gradients(ids[1])
    counts = {str(name): flop for name, flop in products.get_flop_counts()["Global"].items()}
    return peak, sum(counts.get(f"aten.{name}", 0) for name in ("mm", "addmm", "bmm"))


def llama(settings: BenchSettings) -> Any:
    sizes = LLAMA_SIZES[settings.model]
    return random_llama(sizes, torch.device("cpu"), settings.dtype, 0, settings.length)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("arm", ARMS)
def test_peak_and_products_are_those_of_a_step_with_numbers(arm: str, checkpointing: bool) -> None:
    """A quarter of the tokens counts: without numbers, a mask does not say how many it chooses."""
    settings = settings_of(checkpointing=checkpointing, response_share=0.25)
    counted = count_arm(settings, None, arm)
    peak, products = with_numbers(settings, arm)
    assert counted["flop"] == products
    # Positions that a mask chooses take a little for a moment, and are not there without numbers.
    assert counted["peak_memory"] == pytest.approx(peak, rel=0.005)
    assert counted["peak_memory"] == max(counted["peak_of_gradients"], counted["peak_of_update"])
    assert counted["peak_memory"] > counted["static_memory"]["total"]


def test_a_share_saves_the_products_of_what_it_does_not_train() -> None:
    settings = settings_of(share=0.5)
    full, compact = (count_arm(settings, None, arm) for arm in ("full", "compact"))
    tokens, predicted = 2 * 16, 2 * 15
    assert full["flop"] == 3 * 2 * (tokens * UNITS + predicted * WIDTH * VOCABULARY)
    untrained = UNITS - compact["trained_parameters"]
    vocabulary = predicted * WIDTH * VOCABULARY
    first_inputs = tokens * 3 * WIDTH * WIDTH  # of queries, keys and values, where nothing asks
    assert full["flop"] - compact["flop"] == 2 * (tokens * untrained + vocabulary + first_inputs)


@pytest.mark.slow
def test_a_fifth_of_llama_2_7b_takes_less_than_45_percent_of_the_memory() -> None:
    """Without masters, as both ways fit a card of 80 GB."""
    settings = complete_count({"masters": False, "checkpointing": True, "length": 1024})
    full, compact = (count_arm(settings, None, arm) for arm in ("full", "compact"))
    assert full["peak_memory"] == pytest.approx(54.36e9, rel=1e-3)
    assert compact["peak_memory"] == pytest.approx(23.84e9, rel=1e-3)
    assert compact["peak_memory"] / full["peak_memory"] <= 0.45
    assert full["flop"] / compact["flop"] == pytest.approx(1.275, abs=0.001)


# --- the command ---


@pytest.mark.parametrize("form", ["json", "text"])
def test_the_command_counts_every_arm(capsys: pytest.CaptureFixture[str], form: str) -> None:
    asked = ["--model", "tiny", "--batch", "2", "--length", "16", "--share", "0.5"]
    assert main(["bench", "count", *asked, "--format", form]) == 0
    said = capsys.readouterr().out
    if form == "text":
        assert "tiny  bfloat16  2 x 16 tokens  with masters" in said
        assert all(name in said for name in (*ARMS, "compact/full", "FLOP"))
        return
    report = json.loads(said)
    assert report["bench"] == "count"
    assert "machine" not in report
    assert report["settings"]["share"] == 0.5
    assert not {"steps", "repeats", "threads", "device"} & set(report["settings"])
    assert list(report["arms"]) == list(ARMS)
    assert report["arms"]["full"]["parameters"] == ALL
    row, arms = report["ratios"]["compact/full"], report["arms"]
    assert row["flop"] == arms["compact"]["flop"] / arms["full"]["flop"]
    assert row["peak_memory"] == arms["compact"]["peak_memory"] / arms["full"]["peak_memory"]
    totals = [arms[name]["static_memory"]["total"] for name in ("compact", "full")]
    assert row["static_memory"] == totals[0] / totals[1] < 0.6


def test_the_default_is_the_shape_that_a_card_of_80_gb_trains() -> None:
    settings = complete_count({})
    assert (settings.model, settings.precision, settings.masters) == ("llama2-7b", "bfloat16", True)
    with pytest.raises(ConfigError, match="--no-masters is about bfloat16 weights"):
        complete_count({"precision": "float32", "masters": False})
    with pytest.raises(ConfigError, match="Unknown model 'llama2-7'"):
        complete_count({"model": "llama2-7"})


def test_other_settings_of_time_do_not_matter() -> None:
    settings = settings_of()
    assert count_arm(replace(settings, threads=7), None, "full") == count_arm(
        settings, None, "full"
    )
