"""Identification end to end, through Lightning."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ssah_exp.config.schema import UnitsConfig
from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Collate
from ssah_exp.errors import ModelError, UnitError
from ssah_exp.models.anatomy import blocks
from ssah_exp.models.sizes import KINDS
from ssah_exp.units import identify
from ssah_exp.units.identify import Identification
from ssah_exp.units.snapshot import classes_now
from ssah_exp.units.unitmap import ScoreProvenance
from tests import tiny
from tests.units import oracle
from tests.units.collecting import assert_same, run_identify

SAFETY, UTILITY = tiny.conversations(5, seed=1), tiny.conversations(6, seed=2)
PROVENANCE = ScoreProvenance("tiny", "0", "f" * 64, "variance", {}, {})


@pytest.mark.parametrize(
    ("family", "tokens"),
    [("llama_gqa", "response"), ("llama_gqa", "all"), ("gemma2", "response"), ("phi3", "all")],
)
def test_statistics_equal_oracle(family: str, tokens: str) -> None:
    """Every family is compared in test_collect; Lightning adds the batches and the two sets."""
    loaded = tiny.tiny_loaded(family)
    found = run_identify(loaded, SAFETY, UTILITY, tokens=tokens)
    for statistics, items in ((found.safety, SAFETY), (found.utility, UTILITY)):
        for (kind, layer), examples in oracle.record(loaded.model, items, tokens).items():
            for name in ("mean", "variance", "flap"):
                plain = getattr(oracle, name)(examples)
                ours = getattr(statistics.by_kind[kind], name)[layer].numpy()
                np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("statistic", ["variance", "flap"])
@pytest.mark.parametrize("family", ["llama_wide_heads", "gemma2", "phi3"])
def test_unit_scores_equal_oracle(
    family: str, statistic: str, square: bool, weighted: bool
) -> None:
    loaded = tiny.tiny_loaded(family)
    config = UnitsConfig(statistic=statistic, square_attention=square, unweighted=not weighted)
    units = run_identify(loaded, SAFETY, UTILITY).unit_map(config, PROVENANCE)
    for ours, items in ((units.safety, SAFETY), (units.utility, UTILITY)):
        recorded = oracle.record(loaded.model, items, "response")
        dispersion = {key: getattr(oracle, statistic)(rows) for key, rows in recorded.items()}
        plain = oracle.scores(loaded.model, dispersion, square=square, weighted=weighted)
        np.testing.assert_allclose(ours, plain, atol=1e-4)


@pytest.mark.parametrize("measure", ["shift", "norm"])
@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("family", ["llama_gqa", "llama_wide_heads", "gemma2", "phi3"])
def test_shifts_and_norms_equal_oracle(family: str, square: bool, measure: str) -> None:
    """Scores with another dispersion: squared differences of means, or every channel's alike."""
    loaded = tiny.tiny_loaded(family)
    config = UnitsConfig(square_attention=square)
    units = run_identify(loaded, SAFETY, UTILITY).unit_map(config, PROVENANCE)
    safety, utility = (oracle.record(loaded.model, part, "response") for part in (SAFETY, UTILITY))
    moved = {key: (oracle.mean(safety[key]) - oracle.mean(utility[key])) ** 2 for key in safety}
    alike = {key: np.ones_like(rows) for key, rows in moved.items()}
    plain = oracle.scores(loaded.model, moved if measure == "shift" else alike, square=square)
    np.testing.assert_allclose(units.known(measure), plain, atol=1e-4)


def test_batch_size_changes_nothing() -> None:
    loaded = tiny.tiny_loaded()
    one, many = (run_identify(loaded, SAFETY, UTILITY, batch_size=size) for size in (1, 8))
    for first, second in ((one.safety, many.safety), (one.utility, many.utility)):
        assert_same(first, second, ("mean", "variance", "flap"))


def test_round_trip(tmp_path: Path) -> None:
    found = run_identify(tiny.tiny_loaded(), SAFETY, UTILITY)
    found.save(tmp_path)
    again = Identification.load(tmp_path, found.anatomy)
    before, after = (item.unit_map(UnitsConfig(), PROVENANCE) for item in (found, again))
    for name in ("safety", "utility", "classes"):
        assert np.array_equal(getattr(before, name), getattr(after, name))
    for kind in KINDS:
        assert torch.equal(found.column_norms[kind], again.column_norms[kind])


def test_norms_that_lack_a_kind_are_damaged(tmp_path: Path) -> None:
    found = run_identify(tiny.tiny_loaded(), SAFETY, UTILITY)
    found.save(tmp_path)
    save_file({"attention": found.column_norms["attention"]}, tmp_path / "column_norms.safetensors")
    with pytest.raises(UnitError, match=r"Column norms in .* cannot be read: 'mlp'"):
        Identification.load(tmp_path, found.anatomy)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_model_is_left_as_it_was(mode: str) -> None:
    loaded = tiny.tiny_loaded()
    getattr(loaded.model, mode)()
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    run_identify(loaded, SAFETY, UTILITY)
    assert tiny.pre_hooks(loaded.model) == 0
    assert loaded.model.training == (mode == "train")
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())


def test_the_model_is_as_before_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.tiny_loaded()

    def fail(module: torch.nn.Module, inputs: object, output: object) -> None:
        raise ArithmeticError("from inside the model")

    handle = loaded.model.model.layers[1].mlp.register_forward_hook(fail)
    moved: list[torch.device] = []
    monkeypatch.setattr(identify, "move", lambda model, device: moved.append(device))
    with pytest.raises(ArithmeticError, match="from inside"):
        run_identify(loaded, SAFETY, UTILITY)
    assert moved == [loaded.device], "Lightning leaves it in main memory"
    handle.remove()
    assert tiny.pre_hooks(loaded.model) == 0
    run_identify(loaded, SAFETY, UTILITY)  # and the model is still good


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("mlp.up_proj", "down_proj input of layer 1"),
        ("self_attn.v_proj", "o_proj input of layer 1"),
    ],
)
def test_bad_weights_are_traced_to_the_layer(module: str, message: str, value: float) -> None:
    loaded = tiny.tiny_loaded()
    with torch.no_grad():
        loaded.model.model.layers[1].get_submodule(module).weight[3] = value
    with pytest.raises(UnitError, match=message) as error:
        run_identify(loaded, SAFETY, UTILITY)
    assert str(error.value).startswith("safety: NaN or infinite")
    assert tiny.pre_hooks(loaded.model) == 0


def test_weights_that_no_activation_shows_are_traced_too() -> None:
    """Scores of the last block's neurons would all be zero, as if none stood out."""
    loaded = tiny.tiny_loaded("llama_gqa")
    blocks(loaded.model)[2].mlp.down_proj.weight.data[3, 5] = float("nan")
    with pytest.raises(ModelError, match="mlp output projection of layer 2"):
        run_identify(loaded, SAFETY, UTILITY)


def test_an_lm_head_that_no_activation_shows_is_looked_at_too() -> None:
    loaded = tiny.tiny_loaded("llama_gqa")
    loaded.model.get_output_embeddings().weight.data[3, 5] = float("nan")
    with pytest.raises(ModelError, match="in the LM head"):
        run_identify(loaded, SAFETY, UTILITY)


def test_a_look_at_too_few_tokens_says_so() -> None:
    """Not that activations are no numbers, as a variance of one token is."""
    ids = SAFETY[0].input_ids
    one = Collate(0)([Encoded(ids, len(ids) - 1)])
    with pytest.raises(UnitError, match="safety: 1 counted token"):
        classes_now(tiny.tiny_loaded(), {"safety": [one], "utility": [one]}, UnitsConfig())


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Python's own handlers; launchers of other tests in this process leave theirs behind."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, SystemExit(143)), (signal.SIGINT, KeyboardInterrupt())]
)
def test_a_signal_ends_the_pass_after_the_batch_at_hand(
    number: signal.Signals, error: BaseException
) -> None:
    """Lightning alone goes on after SIGTERM, through both sets."""
    loaded = tiny.tiny_loaded()
    seen = 0

    def ask(module: torch.nn.Module, inputs: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            os.kill(os.getpid(), number)

    handle = blocks(loaded.model)[0].register_forward_pre_hook(ask)
    before = signal.getsignal(number)
    with pytest.raises(type(error)) as raised:
        run_identify(loaded, SAFETY, UTILITY, batch_size=1)
    handle.remove()
    assert raised.value.args == error.args
    assert seen == 2
    assert tiny.pre_hooks(loaded.model) == 0
    assert signal.getsignal(number) == before
