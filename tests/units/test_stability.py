"""Resampling against a plain loop over resamples, layers and channels; what the atlas says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr

from ssah_exp.config.schema import BudgetsConfig, TrainerConfig, UnitsConfig
from ssah_exp.errors import UnitError
from ssah_exp.models.sizes import KINDS, Anatomy, Kind
from ssah_exp.reporting.stability_rows import agreement_rows, consensus_summary, inclusion_rows
from ssah_exp.units.agreement import (
    ClassAgreement,
    Spread,
    centred_ranks,
    jaccards,
    spearman,
    spread,
)
from ssah_exp.units.classes import UnitClass, classify
from ssah_exp.units.examples import ExampleMoments
from ssah_exp.units.identify import SETS, Identification, identify
from ssah_exp.units.index import UnitIndex
from ssah_exp.units.moments import Moments
from ssah_exp.units.resampling import (
    bootstrap_weights,
    permuted_within,
    resampled_maps,
    resampled_scores,
    subset_weights,
)
from ssah_exp.units.stability import StabilityAtlas, stability, subsample_sizes
from ssah_exp.units.statistics import ChannelStatistics, KindStatistics
from tests import tiny
from tests.units import oracle

ITEMS = {"safety": tiny.conversations(7, seed=1), "utility": tiny.conversations(6, seed=2)}
UNITS = UnitsConfig(batch_size=3, budgets=BudgetsConfig(scu=0.1, ucu=0.1, ru=0.1))
LOADED = tiny.tiny_loaded()


@cache
def kept() -> Identification:
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    return identify(LOADED, ITEMS, UNITS, trainer, keep_examples=True)


@cache
def atlas(resamples: int = 20, seed: int = 0) -> StabilityAtlas:
    return stability(kept(), UNITS, resamples=resamples, seed=seed)


def examples_of(name: str) -> ExampleMoments:
    examples = kept().examples
    assert examples is not None
    return examples[name]


def test_all_examples_once_is_the_pooled_statistic() -> None:
    for name, pooled in (("safety", kept().safety), ("utility", kept().utility)):
        found = examples_of(name).variance(torch.ones(1, len(ITEMS[name])))
        for kind in KINDS:
            torch.testing.assert_close(
                found[kind][0], pooled.by_kind[kind].variance, rtol=1e-10, atol=1e-14
            )


@pytest.mark.parametrize("weighted", [True, False])
def test_resampled_scores_equal_a_plain_loop_over_tokens(weighted: bool) -> None:
    """Every token of every drawn example, as often as it is drawn, through the oracle."""
    generator = np.random.default_rng(3)
    weights = {name: bootstrap_weights(len(ITEMS[name]), 4, generator) for name in SETS}
    found = resampled_scores(kept(), weights, replace(UNITS, unweighted=not weighted))
    for name in SETS:
        recorded = oracle.record(LOADED.model, ITEMS[name], "response")
        for resample, drawn in enumerate(weights[name].astype(int)):
            dispersion = {
                key: oracle.variance(
                    [row for row, times in zip(rows, drawn, strict=True) for _ in range(times)]
                )
                for key, rows in recorded.items()
            }
            plain = oracle.scores(LOADED.model, dispersion, weighted=weighted)
            np.testing.assert_allclose(found[name][resample], plain, atol=1e-4)


@pytest.mark.parametrize("square", [True, False])
def test_heads_are_scored_as_units_say_in_every_resample(square: bool) -> None:
    units = replace(UNITS, square_attention=square)
    stored = kept().unit_map(units, None)  # type: ignore[arg-type]
    pooled = kept().scores(units, "variance")
    np.testing.assert_allclose(pooled, [stored.safety, stored.utility])
    once = {name: np.ones((1, len(items))) for name, items in ITEMS.items()}
    ((classes, _),) = resampled_maps(kept(), once, units)
    assert np.array_equal(classes, stored.classes)


def random_moments(
    offset: float, examples: int = 9, layers: int = 2
) -> Mapping[tuple[Kind, int], list[Moments]]:
    draw = np.random.default_rng(0)
    count = torch.tensor(draw.integers(1, 9, examples), dtype=torch.float64)
    made: dict[tuple[Kind, int], list[Moments]] = {}
    for kind in KINDS:
        for layer in range(layers):
            mean, m2 = (torch.from_numpy(draw.random((examples, 5))) for _ in range(2))
            moments = Moments(count, mean + offset, m2)
            made[kind, layer] = [
                Moments(moments.count[part], moments.mean[part], moments.m2[part])
                for part in (slice(0, 4), slice(4, None))
            ]
    return made


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_weighted_variance_equals_chan_one_by_one(offset: float) -> None:
    """The mean may be a million deviations away: nothing cancels."""
    raw = random_moments(offset)
    draws = bootstrap_weights(9, 6, np.random.default_rng(1))
    found = ExampleMoments.of(raw, 2).variance(torch.from_numpy(draws))
    for (kind, layer), batches in raw.items():
        for resample, drawn in enumerate(draws.astype(int)):
            n, mean, m2 = 0.0, np.zeros(5), np.zeros(5)
            rows = [
                (float(batch.count[at]), batch.mean[at].numpy(), batch.m2[at].numpy())
                for batch in batches
                for at in range(len(batch.count))
            ]
            for times, (count, its_mean, its_m2) in zip(drawn, rows, strict=True):
                for _ in range(times):
                    delta = its_mean - mean
                    m2 = m2 + its_m2 + delta**2 * n * count / (n + count)
                    mean = mean + delta * count / (n + count)
                    n += count
            ours = found[kind][resample, layer].numpy()
            np.testing.assert_allclose(ours, m2 / (n - 1), rtol=1e-8 if offset else 1e-12)


def test_examples_without_tokens_are_left_out() -> None:
    raw = random_moments(0.0)
    empty = Moments(torch.zeros(1), torch.zeros(1, 5), torch.zeros(1, 5)).cpu()
    more = {key: [*batches, empty] for key, batches in raw.items()}
    with_empty, without = (ExampleMoments.of(item, 2) for item in (more, raw))
    assert with_empty.examples == without.examples == 9
    assert torch.equal(with_empty.second["mlp"], without.second["mlp"])


def test_weights_that_do_not_fit_are_refused() -> None:
    moments = ExampleMoments.of(random_moments(0.0), 2)
    with pytest.raises(UnitError, match=r"\(1, 8\) do not fit 9 examples"):
        moments.variance(torch.ones(1, 8))
    with pytest.raises(UnitError, match="fewer than two tokens"):
        moments.variance(torch.zeros(1, 9))


def test_keeping_examples_does_not_change_what_is_stored(tmp_path: Path) -> None:
    trainer = TrainerConfig(accelerator="cpu", progress=False)
    plain = identify(LOADED, ITEMS, UNITS, trainer)
    assert plain.examples is None
    for name, found in (("plain", plain), ("kept", kept())):
        (tmp_path / name).mkdir()
        found.save(tmp_path / name)
    files = [sorted((tmp_path / name).iterdir()) for name in ("plain", "kept")]
    for mine, theirs in zip(*files, strict=True):
        assert mine.name == theirs.name
        one, other = load_file(mine), load_file(theirs)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_bootstrap_draws_as_many_as_there_are() -> None:
    weights = bootstrap_weights(10, 2000, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 10).all()
    assert weights.mean() == pytest.approx(1)
    assert (weights == 0).mean() == pytest.approx(0.9**10, abs=0.01)


def test_halves_share_no_example() -> None:
    first, second = (
        subset_weights(7, 3, 50, np.random.default_rng(5), skip=skip) for skip in (0, 3)
    )
    assert (first.sum(axis=1) == 3).all()
    assert (second.sum(axis=1) == 3).all()
    assert (first + second).max() == 1
    assert len(np.unique(first, axis=0)) > 20


def test_subsample_sizes() -> None:
    assert subsample_sizes(128) == [16, 32, 64]
    assert subsample_sizes(129) == [16, 32, 64, 128]
    assert subsample_sizes(16) == []


def test_permutations_stay_within_layer_and_kind() -> None:
    index = UnitIndex(tiny.small_anatomy(layers=3, heads=4, neurons=50))
    orders = list(permuted_within(index, 5, np.random.default_rng(0)))
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(index.anatomy.units))
        assert np.array_equal(index.layer[order], index.layer)
        assert np.array_equal(index.kind[order], index.kind)
    assert not np.array_equal(orders[0], orders[1])


def test_the_atlas_names_every_comparison() -> None:
    found = atlas()
    assert found.examples == {"safety": 7, "utility": 6}
    assert [item.name for item in found.agreements] == ["bootstrap", "halves", "flap", "random"]
    assert [item.draws for item in found.agreements] == [20, 20, 1, 20]
    assert found.agreements[1].size == 3
    for item in found.agreements:
        for measured in (*item.jaccard.values(), item.spearman):
            assert measured.mean is not None
            assert (measured.low is None) == (item.draws == 1)
            if measured.low is not None and measured.high is not None:
                assert -1 <= measured.low <= measured.mean <= measured.high <= 1


def test_more_examples_agree_better_and_all_beat_chance() -> None:
    """128 noisy examples of one underlying variance."""
    by_name = {item.name: item for item in stability(synthetic(), UNITS, resamples=20).agreements}
    order = ["random", "subsample 16", "subsample 32", "subsample 64"]
    for measure in ("SCU", "RU"):
        values = [by_name[name].jaccard[measure].mean for name in order]
        assert values == sorted(values, key=lambda value: value or 0)
        assert len(set(values)) == 4
    ranks = [by_name[name].spearman.mean for name in order]
    assert ranks == sorted(ranks, key=lambda value: value or 0)


def test_reference_and_flap_are_those_of_the_pooled_scores() -> None:
    provenance_free = [
        kept().unit_map(replace(UNITS, statistic=name), None)  # type: ignore[arg-type]
        for name in ("variance", "flap")
    ]
    variance, flap = provenance_free
    assert np.array_equal(atlas().reference, variance.classes)
    found = atlas().agreements[2]
    for at, item in enumerate(UnitClass):
        expected = jaccards(variance.classes, flap.classes)[at]
        assert found.jaccard[item.name].mean == pytest.approx(expected)
    expected = spearmanr(variance.safety - variance.utility, flap.safety - flap.utility).statistic
    assert found.spearman.mean == pytest.approx(expected)


def test_inclusion_counts_resamples_and_consensus_is_half_of_them() -> None:
    generators = [np.random.default_rng([0, 0, at]) for at in range(2)]
    weights = {
        name: bootstrap_weights(len(ITEMS[name]), 20, generator)
        for name, generator in zip(SETS, generators, strict=True)
    }
    scores = resampled_scores(kept(), weights, UNITS)
    parameters = UnitIndex(LOADED.anatomy).parameters
    times = np.zeros(LOADED.anatomy.units)
    for safety, utility in zip(scores["safety"], scores["utility"], strict=True):
        classes = classify(safety, utility, parameters, UNITS.budgets)
        times += classes == UnitClass.SCU
    found = atlas()
    assert found.inclusion is not None
    np.testing.assert_allclose(found.inclusion, times / 20)
    assert np.array_equal(found.consensus(), times >= 10)
    assert np.array_equal(found.inclusion == 1, times == 20)


def test_the_seed_decides() -> None:
    again = stability(kept(), UNITS, resamples=20, seed=0)
    assert again.agreements == atlas().agreements
    assert np.array_equal(again.inclusion, atlas().inclusion)  # type: ignore[arg-type]
    other = atlas(seed=1)
    assert other.agreements[0] != atlas().agreements[0]
    assert other.agreements[2] == atlas().agreements[2], "flap draws nothing"


def test_pooled_statistics_give_what_needs_no_examples() -> None:
    found = stability(replace(kept(), examples=None), UNITS, resamples=20)
    assert [item.name for item in found.agreements] == ["flap", "random"]
    assert found.agreements == atlas().agreements[2:]
    assert (found.examples, found.inclusion) == (None, None)
    with pytest.raises(UnitError, match="no consensus"):
        found.consensus()


def test_too_little_is_refused() -> None:
    with pytest.raises(UnitError, match="resamples=1 is below 2"):
        stability(kept(), UNITS, resamples=1)
    examples = kept().examples
    assert examples is not None
    few = {
        name: ExampleMoments(
            item.count[:3],
            {kind: rows[:, :3] for kind, rows in item.first.items()},
            {kind: rows[:, :3] for kind, rows in item.second.items()},
        )
        for name, item in examples.items()
    }
    with pytest.raises(UnitError, match="four examples of each set"):
        stability(replace(kept(), examples=few), UNITS)
    with pytest.raises(UnitError, match="only their pool is known"):
        resampled_scores(replace(kept(), examples=None), {}, UNITS)


def test_jaccards_by_hand() -> None:
    first, second = (np.array(row, dtype=np.uint8) for row in ([0, 0, 0, 2, 2], [0, 0, 2, 2, 3]))
    found = jaccards(first, second)
    np.testing.assert_allclose(found, [2 / 3, np.nan, 1 / 3, 0])
    np.testing.assert_array_equal(found, jaccards(second, first))


def test_spearman_is_scipys_with_and_without_ties() -> None:
    draw = np.random.default_rng(0)
    for rows in (draw.normal(size=(2, 200)), draw.integers(0, 9, (2, 200)).astype(float)):
        ours = spearman(*(centred_ranks(row) for row in rows))
        assert ours == pytest.approx(spearmanr(*rows).statistic)
    assert np.isnan(spearman(centred_ranks(np.ones(5)), centred_ranks(draw.random(5))))


def test_spread() -> None:
    found = spread(np.array([*range(101), np.nan], dtype=float), 0.9)
    assert (found.mean, found.low, found.high) == pytest.approx((50, 5, 95))
    assert spread(np.array([3.0]), 0.9).low is None
    assert spread(np.array([np.nan]), 0.9).mean is None


def synthetic(anatomy: Anatomy | None = None, examples: int = 128) -> Identification:
    """Every example's moments are draws around one variance per channel; no model is run."""
    anatomy = anatomy or tiny.small_anatomy(layers=3, heads=4, neurons=200, head_parameters=20.0)
    draw = torch.Generator().manual_seed(0)

    def made() -> ExampleMoments:
        count = torch.randint(5, 40, (examples,), generator=draw).double()
        first: dict[Kind, torch.Tensor] = {}
        second: dict[Kind, torch.Tensor] = {}
        for kind in KINDS:
            shape = (anatomy.layers, examples, anatomy.channels(kind))
            scale = torch.exp(torch.randn(shape[0], 1, shape[2], generator=draw).double())
            noise = torch.rand(shape, generator=draw, dtype=torch.float64)
            mean = torch.randn(shape, generator=draw, dtype=torch.float64)
            size = count.view(1, -1, 1)
            first[kind] = 0.3 * size * scale * (mean - mean.mean(dim=1, keepdim=True))
            second[kind] = size * scale.square() * (0.2 + 2 * noise)
        return ExampleMoments(count, first, second)

    kept_examples = {name: made() for name in SETS}
    pooled = {}
    for name, item in kept_examples.items():
        variance = item.variance(torch.ones(1, examples))
        by_kind: dict[Kind, KindStatistics] = {
            kind: KindStatistics(*(variance[kind][0].clone() for _ in range(3))) for kind in KINDS
        }
        pooled[name] = ChannelStatistics(int(item.count.sum()), examples, by_kind)
    norms: dict[Kind, torch.Tensor] = {
        kind: torch.ones(anatomy.layers, anatomy.channels(kind)) for kind in KINDS
    }
    return Identification(anatomy, pooled["safety"], pooled["utility"], norms, kept_examples)


SMALL = tiny.small_anatomy(layers=2, heads=1, neurons=4, head_parameters=4.0)


def by_hand() -> StabilityAtlas:
    """Ten units that weigh 16; the reference has the head of layer 0 and two neurons in SCU."""
    reference = np.full(SMALL.units, UnitClass.CU, dtype=np.uint8)
    reference[[0, 1, 7]] = UnitClass.SCU
    inclusion = np.array([1.0, 0.0, 0.3, 0.4, 0.0, 0.9, 0.0, 0.5, 0.0, 0.0])
    drawn = {"SCU": Spread(0.5, 0.4, 0.7), "CU": Spread(None, None, None)}
    agreements = [
        ClassAgreement("halves", 3, 20, drawn, Spread(0.8, 0.6, 0.9)),
        ClassAgreement("flap", None, 1, drawn, Spread(0.2, None, None)),
    ]
    return StabilityAtlas({"safety": 7, "utility": 6}, reference, agreements, inclusion)


def test_the_consensus_is_counted_by_hand() -> None:
    """Half of the resamples is enough: both heads, of weight 4, and one neuron."""
    assert consensus_summary(by_hand(), SMALL) == {
        "reference_units": 3,
        "consensus_units": 3,
        "consensus_heads": 2,
        "consensus_parameter_share": 9 / 16,
        "jaccard_with_reference": 2 / 4,
        "always": 1,
        "ever": 5,
    }
    none = replace(by_hand(), reference=np.full(10, UnitClass.CU, np.uint8), inclusion=np.zeros(10))
    found = consensus_summary(none, SMALL)
    assert found is not None
    assert found["jaccard_with_reference"] is None, "nothing beside nothing is no agreement of 0"


def test_units_stand_by_how_often_they_are_drawn_with_those_of_the_reference_alone_last() -> None:
    rows = inclusion_rows(by_hand(), SMALL)
    assert rows.to_numpy().tolist() == [
        [0, "head", 0, 1.0, True],
        [1, "head", 0, 0.9, False],
        [1, "neuron", 1, 0.5, True],
        [0, "neuron", 2, 0.4, False],
        [0, "neuron", 1, 0.3, False],
        [0, "neuron", 0, 0.0, True],
    ]
    assert list(rows.columns) == ["layer", "kind", "index", "inclusion", "in_reference"]


def test_every_comparison_has_a_row_for_each_class_and_one_for_ranks() -> None:
    rows = agreement_rows(by_hand())
    assert rows["measure"].tolist() == ["jaccard_SCU", "jaccard_CU", "spearman"] * 2
    halves = rows[rows["comparison"] == "halves"].set_index("measure")
    assert halves.loc["jaccard_SCU", ["mean", "low", "high"]].tolist() == [0.5, 0.4, 0.7]
    assert halves.loc["spearman", ["mean", "low", "high"]].tolist() == [0.8, 0.6, 0.9]
    assert halves.loc["jaccard_CU", ["mean", "low", "high"]].isna().all()
    assert set(halves["examples_of_each_set"]) == {3}
    assert set(halves["draws"]) == {20}
    flap = rows[rows["comparison"] == "flap"]
    assert flap["examples_of_each_set"].isna().all()
    assert set(flap["draws"]) == {1}
