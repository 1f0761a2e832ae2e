"""From channel statistics to unit scores: pure functions on hand-made numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssah_exp.units.index import HEAD, NEURON, UnitIndex
from ssah_exp.units.scores import channel_importance, head_scores, standardise, unit_scores
from ssah_exp.units.statistics import ChannelStatistics, KindStatistics
from tests import tiny
from tests.units import oracle


def random_table(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1


def test_importance_is_dispersion_times_column_norm() -> None:
    importance = channel_importance(torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0, 7.0]]))
    assert importance.tolist() == [[10, 21]]
    assert importance.dtype == torch.float64


def test_standardise_is_a_z_score_per_layer() -> None:
    table = random_table(3, 8) * torch.tensor([[1.0], [100.0], [1e-6]])
    for ours, row in zip(standardise(table), table, strict=True):
        np.testing.assert_allclose(ours, oracle.z_scores(row.numpy()), rtol=1e-9)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_all_scores_changes_nothing(size: float) -> None:
    """Squared scores of a narrow layer are far below what rounding is elsewhere."""
    table = random_table(2, 8)
    np.testing.assert_allclose(standardise(size * table), standardise(table), rtol=1e-9)


@pytest.mark.parametrize("width", [1, 2, 3, 6, 7, 100, 576, 11008])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, 0.7, 1e-30, 1e30])
def test_constant_layer_gives_zeros(width: int, constant: float) -> None:
    """Also where the mean of equal numbers is rounded to another one, as of 3 times 0.1."""
    table = torch.full((2, width), constant, dtype=torch.float64)
    assert standardise(table).count_nonzero() == 0


def test_channels_that_hardly_differ_are_ranked_all_the_same() -> None:
    row = np.array([1.0, 1.0 + 1e-9, 1.0 + 2e-9])
    np.testing.assert_allclose(standardise(torch.from_numpy(row)[None])[0], [-1, 0, 1], atol=1e-5)


def test_not_a_number_stays_one() -> None:
    """A layer of zeros would look like one that has nothing to rank."""
    table = random_table(2, 6)
    table[1, 3] = float("nan")
    assert standardise(table).isnan().any(dim=1).tolist() == [False, True]


def test_constant_layer_leaves_the_others_alone() -> None:
    table = random_table(2, 6)
    table[0] = 4.2
    scores = standardise(table)
    assert scores[0].count_nonzero() == 0
    np.testing.assert_allclose(scores[1], oracle.z_scores(table[1].numpy()))


@pytest.mark.parametrize("square", [True, False])
def test_head_score_is_the_mean_over_its_channels(square: bool) -> None:
    importance = random_table(2, 12)
    ours = head_scores(importance, 3, 4, square=square)
    for layer in range(2):
        row = importance[layer].numpy()
        z = oracle.z_scores(row**2 if square else row)
        plain = [z[0:4].mean(), z[4:8].mean(), z[8:12].mean()]
        np.testing.assert_allclose(ours[layer], plain, rtol=1e-9)


def test_squaring_matters() -> None:
    importance = random_table(2, 12)
    squared, plain = (head_scores(importance, 3, 4, square=each) for each in (True, False))
    assert not torch.allclose(squared, plain, atol=1e-2)


@pytest.mark.parametrize("statistic", ["variance", "flap"])
def test_flat_order(statistic: str) -> None:
    """A score that stands out must come out at the unit it belongs to."""
    anatomy = tiny.small_anatomy(layers=3, heads=2, neurons=5)
    index = UnitIndex(anatomy)
    attention, mlp = torch.ones(3, 6), torch.ones(3, 5)
    attention[1, 3:6] = 9.0  # head 1 of layer 1
    mlp[2, 3] = 9.0  # neuron 3 of layer 2
    other = {"attention": random_table(3, 6), "mlp": random_table(3, 5)}
    by_kind = {}
    for kind, table in (("attention", attention), ("mlp", mlp)):
        fields = {"mean": other[kind], "variance": other[kind], "flap": other[kind]}
        by_kind[kind] = KindStatistics(**{**fields, statistic: table})
    norms = {"attention": torch.ones(3, 6), "mlp": torch.ones(3, 5)}
    scores = unit_scores(ChannelStatistics(9, 3, by_kind), norms, index, statistic=statistic)

    assert scores.shape == (anatomy.units,)
    high = np.flatnonzero(scores > 0)
    where = list(zip(index.layer[high], index.kind[high], index.index[high], strict=True))
    assert where == [(1, HEAD, 1), (2, NEURON, 3)]
