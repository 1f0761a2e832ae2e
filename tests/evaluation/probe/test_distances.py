"""Distances against scipy's, and what each of them is blind to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import distance as oracle

from ssah_exp.evaluation.probe.distances import DISTANCES, between
from ssah_exp.evaluation.probe.names import variants

DRAW = torch.Generator().manual_seed(0)
ONE, OTHER = (torch.randn(2, 3, 4, 6, generator=DRAW) for _ in range(2))
CONTENT = torch.randn(2, 4, 6, generator=DRAW)


@pytest.mark.parametrize("name", DISTANCES)
def test_values_are_scipys(name: str) -> None:
    scipys = {
        "cosine": oracle.cosine,
        "angular": lambda a, b: np.arccos(1 - oracle.cosine(a, b)) / np.pi,
        "l2": oracle.euclidean,
    }
    found = between(name, "raw", ONE, OTHER, CONTENT)
    for where in np.ndindex(2, 3, 4):
        wanted = scipys[name](ONE[where].double().numpy(), OTHER[where].double().numpy())
        assert float(found[where]) == pytest.approx(wanted, rel=1e-9)


def test_content_free_is_the_distance_of_what_generation_added() -> None:
    free = between("cosine", "content_free", ONE, OTHER, CONTENT)
    shared = CONTENT[:, None]
    plain = between("cosine", "raw", ONE - shared, OTHER - shared, CONTENT)
    assert free[..., 0].isnan().all()
    assert torch.equal(free[..., 1:], plain[..., 1:])
    assert not torch.allclose(free[..., 1:], between("cosine", "raw", ONE, OTHER, CONTENT)[..., 1:])


def test_only_directions_have_a_content_free_variant() -> None:
    assert variants("l2") == ("raw",)
    assert variants("cosine") == variants("angular") == ("raw", "content_free")
    shared = CONTENT[:, None]
    moved = between("l2", "raw", ONE - shared, OTHER - shared, CONTENT)
    torch.testing.assert_close(moved, between("l2", "raw", ONE, OTHER, CONTENT), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["cosine", "angular"])
def test_ends_of_the_range(name: str) -> None:
    top = {"cosine": 2.0, "angular": 1.0}[name]
    far, near = DISTANCES[name](ONE, -3 * ONE), DISTANCES[name](ONE, 5 * ONE)
    torch.testing.assert_close(far, torch.full_like(far, top), rtol=0, atol=1e-6)
    torch.testing.assert_close(near, torch.zeros_like(near), rtol=0, atol=1e-6)
    assert DISTANCES[name](ONE, torch.zeros_like(ONE)).isnan().all(), "no direction, no distance"
