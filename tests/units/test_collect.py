"""The collector against the plain oracle, and what must not change a statistic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ssah_exp.data.chat import Encoded
from ssah_exp.errors import UnitError
from ssah_exp.models.anatomy import output_column_norms, read_anatomy
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sizes import KINDS
from ssah_exp.units.collect import StatisticsCollector, captured_inputs
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.moments import Moments
from ssah_exp.units.scores import unit_scores
from ssah_exp.units.statistics import ChannelStatistics, KindStatistics
from tests import tiny
from tests.units import oracle
from tests.units.collecting import assert_same, collect, right_padded, widened

ITEMS = tiny.conversations(7)
ALL = ("mean", "variance", "flap")


@pytest.fixture
def loaded() -> LoadedModel:
    return tiny.tiny_loaded("llama_gqa")


@pytest.mark.parametrize("tokens", ["response", "all"])
def test_equals_oracle(family: str, tokens: str) -> None:
    loaded = tiny.tiny_loaded(family)
    statistics = collect(loaded, right_padded(ITEMS, 3), tokens)
    recorded = oracle.record(loaded.model, ITEMS, tokens)
    for (kind, layer), examples in recorded.items():
        for name in ALL:
            plain = getattr(oracle, name)(examples)
            ours = getattr(statistics.by_kind[kind], name)[layer].numpy()
            np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())
    assert statistics.tokens == sum(len(rows) for rows in recorded["mlp", 0])
    assert statistics.examples == 7


def test_response_and_all_tokens_differ(loaded: LoadedModel) -> None:
    response = collect(loaded, right_padded(ITEMS, 3), "response")
    everything = collect(loaded, right_padded(ITEMS, 3), "all")
    assert response.tokens == sum(item.response_length for item in ITEMS)
    assert everything.tokens == sum(len(item.input_ids) for item in ITEMS)


def test_an_example_without_counted_tokens_is_none(loaded: LoadedModel) -> None:
    silent = Encoded(ITEMS[0].input_ids, len(ITEMS[0].input_ids))
    items = [*ITEMS[:3], silent]
    for tokens, count in (("response", 3), ("all", 4)):
        assert collect(loaded, right_padded(items, 2), tokens).examples == count


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batch_size_changes_nothing(loaded: LoadedModel, batch_size: int) -> None:
    assert_same(
        collect(loaded, right_padded(ITEMS, batch_size)),
        collect(loaded, right_padded(ITEMS, 3)),
        ALL,
    )


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("amount", [1, 13])
@pytest.mark.parametrize("tokens", ["response", "all"])
def test_padding_changes_nothing(loaded: LoadedModel, left: bool, amount: int, tokens: str) -> None:
    batches = right_padded(ITEMS, 3)
    wider = [widened(batch, amount, left=left) for batch in batches]
    assert_same(collect(loaded, wider, tokens), collect(loaded, batches, tokens), ALL)


def test_order_changes_flap_only(loaded: LoadedModel) -> None:
    forward = collect(loaded, right_padded(ITEMS, 3))
    backward = collect(loaded, right_padded(ITEMS[::-1], 3))
    assert_same(backward, forward, ("mean", "variance"))
    for kind in KINDS:
        mine, theirs = forward.by_kind[kind].flap, backward.by_kind[kind].flap
        assert float(((mine - theirs).abs() / theirs).median()) > 1e-2


def test_variance_scores_depend_on_nothing_but_the_tokens(loaded: LoadedModel) -> None:
    def scores(batches: list) -> np.ndarray:
        norms = {kind: output_column_norms(loaded.model, kind) for kind in KINDS}
        return unit_scores(collect(loaded, batches), norms, UnitIndex(read_anatomy(loaded.model)))

    shuffled = [ITEMS[at] for at in (3, 6, 0, 5, 1, 4, 2)]
    other = [widened(batch, 5, left=True) for batch in right_padded(shuffled, 2)]
    np.testing.assert_allclose(scores(other), scores(right_padded(ITEMS, 7)), atol=1e-4)


def test_nan_in_padding_is_ignored() -> None:
    batch = right_padded(ITEMS, 3)[0]
    clean, dirty = StatisticsCollector(1), StatisticsCollector(1)
    activations = torch.randn(*batch.input_ids.shape, 6)
    spoilt = torch.where(batch.attention_mask.bool()[..., None], activations, float("nan"))
    for collector, values in ((clean, activations), (dirty, spoilt)):
        collector.begin(batch)
        for kind in KINDS:
            collector.sink(kind, 0, values)
    assert torch.isnan(spoilt).any()
    assert_same(dirty.result(), clean.result(), ALL)
    dirty.result().check_finite("safety")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("kind", "module"), [("attention", "o_proj"), ("mlp", "down_proj")])
def test_one_bad_activation_is_named(value: float, kind: str, module: str) -> None:
    collector = StatisticsCollector(3)
    batch = right_padded(ITEMS, 3)[0]
    collector.begin(batch)
    for each in KINDS:
        for layer in range(3):
            activations = torch.randn(*batch.input_ids.shape, 6)
            if (each, layer) == (kind, 1):
                activations[0, ITEMS[0].response_start, 4] = value
            collector.sink(each, layer, activations)
    with pytest.raises(UnitError, match=f"safety: .*{module} input of layer 1 .1 of 6"):
        collector.result().check_finite("safety")


def test_forward_pass_without_begin_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="begin"):
        StatisticsCollector(1).sink("mlp", 0, torch.zeros(1, 1, 1))


def test_layers_may_lie_on_several_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under ``device_map``: each layer's sums are where its activations were."""
    collector = StatisticsCollector(2)
    with FakeTensorMode():
        count = torch.tensor(3.0)
        for kind in KINDS:
            for layer in range(2):
                here = torch.ones(4, dtype=torch.float64, device=f"cuda:{layer}")
                told = {"_variance": Moments(count, here, here), "_flap": here}
                for name, found in told.items():
                    accumulator = getattr(collector, name)[kind, layer]
                    monkeypatch.setattr(accumulator, "result", lambda found=found: found)
        statistics = collector.result()
    for kind in KINDS:
        found = statistics.by_kind[kind]
        for item in (found.mean, found.variance, found.flap):
            assert (item.shape, item.device.type) == ((2, 4), "cpu")


def test_hooks_are_gone_after_success_and_after_an_exception(loaded: LoadedModel) -> None:
    with captured_inputs(loaded.model, lambda kind, layer, activations: None):
        assert tiny.pre_hooks(loaded.model) == 2 * tiny.LAYERS
    assert tiny.pre_hooks(loaded.model) == 0

    with pytest.raises(KeyError), captured_inputs(loaded.model, lambda *_: None):
        raise KeyError
    assert tiny.pre_hooks(loaded.model) == 0


def test_hooks_are_gone_when_placing_them_fails(loaded: LoadedModel) -> None:
    del loaded.model.model.layers[2].mlp.down_proj
    with pytest.raises(AttributeError), captured_inputs(loaded.model, lambda *_: None):
        pass
    assert tiny.pre_hooks(loaded.model) == 0


def statistics_file() -> ChannelStatistics:
    rows = torch.arange(6.0).double().reshape(2, 3)
    return ChannelStatistics(
        11,
        4,
        {kind: KindStatistics(rows + at, rows * 2, rows * 3) for at, kind in enumerate(KINDS)},
    )


def test_statistics_round_trip(tmp_path: Path) -> None:
    statistics_file().save(tmp_path / "s.safetensors")
    again = ChannelStatistics.load(tmp_path / "s.safetensors")
    assert (again.tokens, again.examples) == (11, 4)
    for kind in KINDS:
        for name in ALL:
            mine = getattr(again.by_kind[kind], name)
            assert torch.equal(mine, getattr(statistics_file().by_kind[kind], name))


@pytest.mark.parametrize("content", [None, b"", b"junk that is no header"])
def test_damaged_statistics_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnitError, match="cannot be read"):
        ChannelStatistics.load(path)


def test_unknown_statistic_is_refused() -> None:
    with pytest.raises(UnitError, match="variance, flap"):
        statistics_file().by_kind["mlp"].dispersion("wanda")


def test_pooled_mean_weighs_by_tokens() -> None:
    first = statistics_file()
    second = ChannelStatistics(33, 4, {"mlp": KindStatistics(*[torch.ones(2, 3).double()] * 3)})
    expected = (first.by_kind["mlp"].mean * 11 + 33) / 44
    torch.testing.assert_close(first.pooled_mean(second, "mlp"), expected)
