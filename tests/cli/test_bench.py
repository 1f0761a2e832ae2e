"""The training benchmark on a tiny model: what it counts is exact, what it times is positive."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ssah_exp.bench import arm as bench_arm
from ssah_exp.bench import training
from ssah_exp.bench.compiling import why_not
from ssah_exp.bench.models import LLAMA_SIZES, embedded_config, random_llama
from ssah_exp.bench.proof import summed_up
from ssah_exp.bench.rounds import schedule
from ssah_exp.bench.settings import ARMS, MODELS, complete
from ssah_exp.bench.steps import plan_of
from ssah_exp.cli import main
from ssah_exp.errors import ConfigError
from tests.config.composing import config_of

Capture = pytest.CaptureFixture[str]
SMALL = ("--model", "tiny", "--device", "cpu", "--batch", "2", "--length", "16", "--steps", "2")
MEASURED = ("tokens_per_second", "peak_memory", "static_memory", "trained_parameters", "loss")
# Width 64, 2 blocks of 4 heads of 16 and 160 neurons, 64 tokens with a head of their own.
HEAD, NEURON = 4 * 64 * 16, 3 * 64
UNITS = 2 * (4 * HEAD + 160 * NEURON)
ALL = UNITS + 2 * 64 * 64 + 5 * 64


def call(capture: Capture, *arguments: str) -> dict[str, Any]:
    assert main(["bench", "train", *SMALL, "--format", "json", *arguments]) == 0
    report: dict[str, Any] = json.loads(capture.readouterr().out)
    return report


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process per arm isolates memory; what is looked at here does not depend on it."""
    monkeypatch.setattr(training, "isolated", bench_arm.time_arm)


def test_the_embedded_model_is_read_as_a_run_reads_it() -> None:
    config = embedded_config()
    assert config == config_of("model=smollm2_135m").model
    assert (config.precision, config.end_of_turn) == ("float32", "<|im_end|>")


def test_an_arm_in_a_process_of_its_own_trains_the_same() -> None:
    settings = complete(_given())
    alone = training.isolated(settings, None, "compact")
    here = bench_arm.time_arm(settings, None, "compact")
    assert alone["status"] == "done"
    assert alone["peak_memory"] > alone["static_memory"]["total"]
    varying = {"tokens_per_second", "peak_memory", "certificate"}
    assert all(alone[name] == here[name] for name in here if name not in varying)


@pytest.mark.usefixtures("in_process")
def test_the_report_has_machine_versions_settings_arms_and_ratios(capsys: Capture) -> None:
    report = call(capsys, "--warmup", "0", "--repeats", "1")
    assert set(report) == {
        "bench",
        "clock",
        "machine",
        "versions",
        "settings",
        "model",
        "arms",
        "ratios",
        "arithmetic_limit",
        "certificate",
    }
    assert report["machine"]["processor"]
    # As its package is called, which on PyPI leaves out the build: 2.15.0 for 2.15.0+cu132.
    release, _, _ = torch.__version__.partition("+")
    assert report["versions"]["packages"]["torch"] in (torch.__version__, release)
    assert report["settings"]["threads"] == torch.get_num_threads()
    assert report["arithmetic_limit"]["plain"] == pytest.approx(3 / 2.2)
    assert list(report["arms"]) == ["full", "masked", "compact", "freeze"]
    for arm in report["arms"].values():
        assert arm["status"] == "done"
        assert arm["tokens_per_second"]["median"] > 0
    assert set(report["ratios"]) == {"compact/full", "masked/full", "freeze/full"}
    for row in report["ratios"].values():
        assert set(row) == {"tokens_per_second", "peak_memory", "static_memory"}


@pytest.mark.usefixtures("in_process")
def test_repeats_are_summed_up_by_median_and_range(capsys: Capture) -> None:
    report = call(capsys, "--repeats", "3")
    for arm in report["arms"].values():
        speed = arm["tokens_per_second"]
        assert [speed["low"], speed["median"], speed["high"]] == sorted(speed["values"])
    full, compact = (report["arms"][n]["tokens_per_second"]["values"] for n in ("full", "compact"))
    ratio = report["ratios"]["compact/full"]["tokens_per_second"]
    assert ratio["values"] == [a / b for a, b in zip(compact, full, strict=True)]


def test_every_arm_is_first_in_turn() -> None:
    order = [arm for _, arm in schedule(list(ARMS), 3)]
    count = len(ARMS)
    assert order[::count] == list(ARMS)[:3]
    assert all(sorted(order[at : at + count]) == sorted(ARMS) for at in (0, count, 2 * count))


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_share_is_trained(capsys: Capture, share: float) -> None:
    arms = call(capsys, "--repeats", "1", "--share", str(share))["arms"]
    assert arms["full"]["trained_parameters"] == arms["full"]["parameters"] == ALL
    assert arms["compact"]["unit_parameters"] == UNITS
    for name in ("masked", "compact"):
        trained = arms[name]["trained_parameters"]
        # A random ranking fills the budget up to the first unit that does not fit.
        assert share * UNITS - HEAD < trained <= share * UNITS
    # Both ways are exact: the same units on the same batches end at the same loss.
    assert arms["masked"]["loss"] == pytest.approx(arms["compact"]["loss"], abs=1e-6)
    assert arms["full"]["loss"] != arms["compact"]["loss"]


@pytest.mark.usefixtures("in_process")
def test_freeze_trains_all_but_its_share(capsys: Capture) -> None:
    freeze = call(capsys, "--repeats", "1", "--frozen-share", "0.3")["arms"]["freeze"]
    frozen = ALL - freeze["trained_parameters"]
    assert 0.3 * UNITS - HEAD < frozen <= 0.3 * UNITS


def test_a_share_that_a_tiny_model_has_no_unit_for_can_be_frozen_of_a_large_one() -> None:
    """A process of its own warms up on a tiny one."""
    settings = replace(complete(_given() | {"frozen_share": 0.001}), **bench_arm._SMALL)
    found = bench_arm.time_arm(settings, None, "freeze")
    assert found["status"] == "done"


@pytest.mark.usefixtures("in_process")
def test_copies_of_frozen_parts_are_counted_where_there_are_any(capsys: Capture) -> None:
    arms = call(capsys, "--repeats", "1", "--frozen-share", "0.9")["arms"]
    buffers = arms["full"]["static_memory"]["others"]
    beside = {name: arm["static_memory"]["others"] - buffers for name, arm in arms.items()}
    untrained = 4 * (UNITS - arms["masked"]["trained_parameters"])  # bytes of float32
    assert untrained / 2 < beside["masked"] <= untrained, "layers without a trained unit keep none"
    # With so much frozen all layers are compact: they keep which rows they train, and no copies.
    rows = 8 * 2 * (4 * 64 + 3 * 160)
    assert 0 < beside["freeze"] <= rows < 4 * 0.9 * UNITS / 10


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("form", ["json", "text"])
def test_an_arm_that_cannot_be_compiled_is_named(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["bench", "train", *SMALL, "--repeats", "1", "--compile", "--format", form]) == 0
    said = capsys.readouterr().out
    if form == "text":
        assert "compiled full skipped: no C++ compiler" in said
        return
    report = json.loads(said)
    for arm in ("compiled full", "compiled compact"):
        assert report["arms"][arm]["status"] == "skipped: no C++ compiler"
        assert report["arms"][arm]["tokens_per_second"] is None
    assert set(report["ratios"]["compiled compact/compiled full"].values()) == {None}
    assert report["arms"]["compact"]["status"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(why_not("cpu") is not None, reason="no C++ compiler")
def test_compiled_blocks_train_the_same() -> None:
    settings = complete(_given())
    for arm in ("full", "compact"):
        plain, compiled = (
            bench_arm.time_arm(settings, None, name) for name in (arm, f"compiled {arm}")
        )
        assert compiled["status"] == "done"
        assert compiled["trained_parameters"] == plain["trained_parameters"]
        assert compiled["loss"] == pytest.approx(plain["loss"], abs=1e-5)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_static_memory_is_what_the_bytes_add_up_to(capsys: Capture, precision: str) -> None:
    arms = call(capsys, "--repeats", "1", "--precision", precision)["arms"]
    full, masked, compact = (arms[name]["static_memory"] for name in ("full", "masked", "compact"))
    bytes_each = 4 if precision == "float32" else 2
    masters = 0 if precision == "float32" else 4
    assert full["weights"] == masked["weights"] == compact["weights"] == bytes_each * ALL
    assert (full["masters"], full["gradients"]) == (masters * ALL, 4 * ALL)
    assert full["optimizer_states"] == pytest.approx(8 * ALL, rel=1e-3)  # and step counters
    trained = arms["compact"]["trained_parameters"]
    assert (compact["masters"], compact["gradients"]) == (4 * trained, 4 * trained)
    assert compact["optimizer_states"] == pytest.approx(8 * trained, rel=1e-3)
    assert compact["total"] < 0.5 * full["total"]
    for static in (full, masked, compact):
        assert static["total"] == sum(size for name, size in static.items() if name != "total")


def measured(**given: Any) -> dict[str, Any]:
    """A report without the command line."""
    settings = complete({**_given(), "batch": 2, "length": 16, **given})
    return training.bench_train(settings, Path("unused"), lambda line: None)


@pytest.mark.usefixtures("in_process")
def test_without_masters_every_arm_holds_less_and_the_ratios_stay() -> None:
    report = measured(precision="bfloat16", masters=False)
    arms = report["arms"]
    full, masked, compact = (arms[name]["static_memory"] for name in ("full", "masked", "compact"))
    trained = arms["compact"]["trained_parameters"]
    assert full["weights"] == masked["weights"] == compact["weights"] == 2 * ALL
    assert (full["masters"], full["gradients"]) == (0, 2 * ALL)
    # What is trained lies in the weights; its copy is there during a step only.
    assert (compact["masters"], compact["gradients"]) == (0, 2 * trained)
    assert full["optimizer_states"] == pytest.approx(4 * ALL, rel=2e-3)  # and step counters
    assert compact["optimizer_states"] == pytest.approx(4 * trained, rel=2e-3)
    for row in report["ratios"].values():
        assert all(row[name]["median"] > 0 for name in ("tokens_per_second", "static_memory"))
    ratio = report["ratios"]["compact/full"]["static_memory"]["median"]
    assert ratio == pytest.approx((2 * ALL + 6 * trained) / (8 * ALL), rel=0.02)
    assert {arm["status"] for arm in arms.values()} == {"done"}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("form", ["json", "text"])
def test_the_command_takes_no_masters_and_tells_the_certificate(capsys: Capture, form: str) -> None:
    given = ["--repeats", "1", "--precision", "bfloat16", "--no-masters", "--format", form]
    assert main(["bench", "train", *SMALL, *given]) == 0
    said = capsys.readouterr().out
    if form == "text":
        assert "certificate of compact: " in said
        assert "below 1% of a run from " in " ".join(said.split())
        return
    report = json.loads(said)
    assert report["settings"]["masters"] is False
    assert report["arms"]["full"]["static_memory"]["masters"] == 0


def test_masters_are_the_default_and_float32_weights_have_none() -> None:
    assert complete(_given()).masters
    with pytest.raises(ConfigError, match="--no-masters is about bfloat16 weights"):
        complete({**_given(), "precision": "float32", "masters": False})


@pytest.mark.parametrize(
    ("masters", "each", "gigabytes"),
    [(True, 4, (34.2, 121.3)), (False, 2, (21.2, 53.9))],
)
def test_static_memory_of_llama_2_7b(
    masters: bool, each: int, gigabytes: tuple[float, float]
) -> None:
    """Added up from the plan, on a model without weights; what 32 GB and 32 GiB say of it."""
    settings = complete(
        {**_given(), "model": "llama2-7b", "precision": "bfloat16", "masters": masters}
    )
    shape = random_llama(LLAMA_SIZES["llama2-7b"], torch.device("meta"), settings.dtype, 0, 64)
    every = sum(item.numel() for item in shape.parameters())
    trained = plan_of(shape, "budget", settings).changeable(shape)
    # The weights; of what is trained also a gradient and two moments, and a master.
    copies = 4 if masters else 3
    compact, full = 2 * every + copies * each * trained, 4 * each * every
    full += 2 * every if masters else 0
    assert (compact / 1e9, full / 1e9) == pytest.approx(gigabytes, abs=0.05)
    assert compact <= 32 * 2**30
    assert (compact <= 32 * 10**9) == (not masters)


# --- the certificate ---


@pytest.mark.usefixtures("in_process")
def test_the_certificate_is_timed_and_set_beside_the_steps() -> None:
    report = measured(repeats=2)
    found, arms = report["certificate"], report["arms"]
    assert len(found["seconds"]["values"]) == 2
    assert found["seconds"]["low"] > 0
    assert found["digest_seconds"]["low"] > 0
    # Before and after, all that the compact arm does not train.
    assert found["bytes"] == 2 * 4 * (ALL - arms["compact"]["trained_parameters"])
    assert found["step_seconds"] == pytest.approx(
        2 * 16 / arms["compact"]["tokens_per_second"]["median"]
    )
    assert "certificate" not in arms["full"]


def test_the_run_of_which_it_is_little_is_counted_in_steps() -> None:
    cost = {"seconds": 3.0, "digest_seconds": 2.0, "bytes": 400}
    found = summed_up([cost], step_seconds=0.5)
    assert found is not None
    assert (found["bytes_per_second"], found["reach"]) == (200, 0.01)
    steps = found["steps_to_reach"]
    assert cost["seconds"] / (steps * 0.5) < 0.01 <= cost["seconds"] / ((steps - 1) * 0.5)
    assert summed_up([], step_seconds=0.5) is None


def test_the_arithmetic_limit_is_that_of_matrix_products() -> None:
    assert training.arithmetic_limit(0.2, checkpointing=False) == pytest.approx(3 / 2.2)
    assert training.arithmetic_limit(0.2, checkpointing=True) == pytest.approx(4 / 3.2)
    assert training.arithmetic_limit(1.0, checkpointing=False) == 1


@pytest.mark.usefixtures("in_process")
def test_checkpointing_and_masked_tokens_change_the_cost_not_the_result(capsys: Capture) -> None:
    plain = call(capsys, "--repeats", "1", "--response-share", "0.25")
    again = call(capsys, "--repeats", "1", "--response-share", "0.25", "--checkpointing")
    whole = call(capsys, "--repeats", "1")
    for arm in ARMS:
        loss = plain["arms"][arm]["loss"]
        assert again["arms"][arm]["loss"] == pytest.approx(loss, abs=1e-6)
        assert whole["arms"][arm]["loss"] != loss


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_arm_without_memory_is_reported(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def measure(settings: Any, location: str | None, arm: str) -> dict[str, Any]:
        if arm == "full":
            monkeypatch.setattr(bench_arm, "_measure", exhausted)
        found = bench_arm.time_arm(settings, location, arm)
        monkeypatch.setattr(bench_arm, "_measure", unlimited)
        return found

    def exhausted(*_: Any) -> dict[str, Any]:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    unlimited = bench_arm._measure
    monkeypatch.setattr(training, "isolated", measure)
    assert main(["bench", "train", *SMALL, "--repeats", "1", "--format", form]) == 0
    said = capsys.readouterr().out
    if form == "text":
        assert "out of memory" in said
        assert "arithmetic limit of tokens/s at a share of 0.2: 1.36" in said
        return
    report = json.loads(said)
    full = report["arms"]["full"]
    assert full["status"] == "out_of_memory"
    assert [full[name] for name in MEASURED] == [None] * len(MEASURED)
    assert report["arms"]["compact"]["status"] == "done"
    assert set(report["ratios"]["compact/full"].values()) == {None}


def test_a_card_that_others_have_filled_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any) -> dict[str, Any]:
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(bench_arm, "_measure", exhausted)
    assert bench_arm.time_arm(complete(_given()), None, "full") == {"status": "out_of_memory"}


def test_another_error_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> dict[str, Any]:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(bench_arm, "_measure", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        bench_arm.time_arm(complete(_given()), None, "full")


def _given() -> dict[str, Any]:
    numbers = {"share": 0.2, "steps": 1, "warmup": 0, "repeats": 1, "response_share": 1.0}
    names = {"model": "tiny", "device": "cpu", "precision": None, "batch": None, "length": None}
    return {**numbers, **names, "checkpointing": False, "seed": 0}


def test_a_cpu_takes_the_embedded_model_in_float32_unless_told() -> None:
    settings = complete({**_given(), "model": None})
    assert (settings.model, settings.precision) == ("embedded", "float32")
    assert (settings.batch, settings.length) == (2, 128)
    assert complete({**_given(), "precision": "bfloat16"}).dtype is torch.bfloat16


def test_an_unknown_model_is_refused_with_the_allowed_ones(capsys: Capture) -> None:
    assert main(["bench", "train", "--model", "llama2-7"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("ssah-exp: Unknown model 'llama2-7'. Did you mean 'llama2-7b'? Allowed:")
    assert all(name in line for name in MODELS)


def test_values_out_of_range_are_all_named(capsys: Capture) -> None:
    wrong = ["--share", "1", "--response-share", "0", "--length", "1", "--repeats", "0"]
    assert main(["bench", "train", "--model", "tiny", *wrong]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ssah-exp: --share=1.0 lies outside (0, 1).",
        "--response-share=0.0 lies outside (0, 1].",
        "--length=1 is below 2.",
        "--repeats=0 is below 1.",
    ]
