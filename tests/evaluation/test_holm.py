"""Holm's adjustment against statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ssah_exp.evaluation.holm import holm


def test_it_steps_down() -> None:
    """Smallest times 4, next times 3, ...; never below an earlier one; gaps are no tests."""
    assert holm([0.03, None, 0.01, 0.5, 0.02]) == pytest.approx([0.06, None, 0.04, 0.5, 0.06])
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_it_is_that_of_statsmodels(seed: int) -> None:
    p = np.random.default_rng(seed).uniform(size=12) ** (1 + seed)
    p[3] = p[7]  # ties
    found = holm(p.tolist())
    np.testing.assert_allclose(np.array(found, float), multipletests(p, method="holm")[1])
    assert max(value for value in found if value is not None) <= 1
