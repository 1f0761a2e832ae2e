"""Curves: values by hand, intervals that behave, gaps that stay gaps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ssah_exp.evaluation.probe.curves import (
    Resampling,
    area_under_curve,
    auc_curve,
    mean_curve,
    moving_average,
    range_curve,
    smoothed_gap,
)

RESAMPLING = Resampling(confidence=0.95, resamples=800)
SAMPLE = np.random.default_rng(0).normal([0.0, 1.0, -2.0, 3.0], 1.0, size=(200, 4))


def test_means_and_their_intervals() -> None:
    curve = mean_curve(SAMPLE, RESAMPLING)
    np.testing.assert_allclose(curve.value, SAMPLE.mean(axis=0))
    error = SAMPLE.std(axis=0, ddof=1) / np.sqrt(200)
    np.testing.assert_allclose(curve.low, SAMPLE.mean(axis=0) - 1.96 * error, atol=0.03)
    np.testing.assert_allclose(curve.high, SAMPLE.mean(axis=0) + 1.96 * error, atol=0.03)
    assert (curve.n, curve.unit) == (200, "requests")
    assert curve == mean_curve(SAMPLE, RESAMPLING)


def test_an_undefined_depth_is_a_gap() -> None:
    holed = SAMPLE.copy()
    holed[3, 0] = np.nan
    curve, whole = (mean_curve(item, RESAMPLING) for item in (holed, SAMPLE))
    assert curve.value[0] is curve.low[0] is curve.high[0] is None
    assert curve.value[1:] == whole.value[1:]


def test_one_observation_has_no_interval_and_none_has_no_value() -> None:
    one, none = (mean_curve(SAMPLE[:count], RESAMPLING) for count in (1, 0))
    assert one.value == SAMPLE[0].tolist()
    assert one.low == one.high == none.value == [None] * 4
    assert (one.n, none.n) == (1, 0)


def test_the_average_moves_and_is_shorter_at_the_ends() -> None:
    values = np.array([1.0, 4.0, 10.0, 2.0, 6.0])
    smooth = moving_average(5, 3) @ values
    np.testing.assert_allclose(smooth, [2.5, 5.0, 16 / 3, 6.0, 4.0])
    np.testing.assert_array_equal(moving_average(5, 1), np.eye(5))


def test_the_gap_is_absolute_then_smoothed() -> None:
    curve = smoothed_gap(SAMPLE, 3, RESAMPLING)
    absolute = np.abs(SAMPLE.mean(axis=0))
    wanted = [absolute[:2].mean(), absolute[:3].mean(), absolute[1:].mean(), absolute[2:].mean()]
    np.testing.assert_allclose(curve.value, wanted)
    assert all(
        low <= value <= high for low, value, high in zip(curve.low, wanted, curve.high, strict=True)
    )
    assert "moving average" in curve.method


def test_auc_is_scikit_learns() -> None:
    draw = np.random.default_rng(1)
    scores = draw.integers(0, 9, size=(70, 4)).astype(float)  # with ties
    labels = np.arange(70) < 30
    scores[:, 2] += 3 * labels
    found = area_under_curve(scores[labels].T, scores[~labels].T)
    np.testing.assert_allclose(found, [roc_auc_score(labels, column) for column in scores.T])
    curve = auc_curve(scores[labels], scores[~labels], RESAMPLING)
    np.testing.assert_allclose(curve.value, found)
    assert curve.n == 70
    assert curve.low[2] > 0.6 > curve.low[0]  # type: ignore[operator]
    assert all(0 <= low <= high <= 1 for low, high in zip(curve.low, curve.high, strict=True))


def test_a_class_of_one_has_no_interval_and_an_empty_one_no_value() -> None:
    for count, value in ((1, [1.0, 1.0]), (0, [None, None])):
        few, many = np.full((count, 2), 9.0), np.arange(6.0).reshape(3, 2)
        curve = auc_curve(few, many, RESAMPLING)
        assert (curve.value, curve.low, curve.high) == (value, [None] * 2, [None] * 2)
        assert curve.n == 3 + count
        assert curve.method.startswith("none")


def test_few_draws_have_a_range() -> None:
    curve = range_curve(np.array([[0.4, 0.5], [0.6, 0.9]]))
    assert curve.value == pytest.approx([0.5, 0.7])
    assert (curve.low, curve.high, curve.n) == ([0.4, 0.5], [0.6, 0.9], 2)
