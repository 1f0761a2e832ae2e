"""From distances to curves, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from ssah_exp.evaluation.intervals import Resampling
from ssah_exp.evaluation.probe.openings import Opening
from ssah_exp.evaluation.probe.summary import (
    Continued,
    continuation_rates,
    distance_curves,
    separability_curves,
    sides,
)

REQUESTS, DEPTH, STEPS, STOP = 30, 5, (1, 3), 99
NAMES = [("benign", False), ("benign", False), ("malicious", False)]
NAMES += [("benign", True), ("benign", True), ("malicious", True)]
OPENINGS = [Opening(kind, null, ((1,),) * REQUESTS) for kind, null in NAMES]
RESAMPLING = Resampling(0.95, 200)


def distances() -> np.ndarray:
    """Malicious openings lie 0.3 further away in every block; twins do not differ."""
    values = np.random.default_rng(0).uniform(0.2, 0.4, size=(REQUESTS, 6, 2, DEPTH))
    values[:, 2, :, 1:] += 0.3
    return values


def continued(**ended: int) -> Continued:
    """``rowR_inputI=t``: that continuation stops at its token t (from 0)."""
    tokens = np.random.default_rng(1).integers(0, 5, size=(REQUESTS, 7, 3))
    for key, at in ended.items():
        row, place = (int(part[3:]) for part in key.replace("input", "inp").split("_"))
        tokens[row, place, at] = STOP
    return Continued(tokens, OPENINGS, STEPS, (STOP,))


def test_openings_are_averaged_request_by_request() -> None:
    values = distances()
    found = sides(values, continued())
    np.testing.assert_allclose(found["benign"], values[:, :2].mean(axis=1))
    np.testing.assert_allclose(found["malicious"], values[:, 2])
    np.testing.assert_allclose(found["null_benign"], values[:, 3:5].mean(axis=1))


def test_a_continuation_that_is_over_does_not_count() -> None:
    values = distances()
    found = sides(values, continued(row0_inp1=2, row1_inp3=0, row2_inp0=1))
    np.testing.assert_allclose(found["benign"][0, 0], values[0, :2, 0].mean(axis=0))
    np.testing.assert_allclose(found["benign"][0, 1], values[0, 1, 1])
    assert np.isnan(found["malicious"][1]).all()
    assert not np.isnan(found["benign"][1]).any()
    for side in found.values():
        assert np.isnan(side[2, 1]).all(), "nothing to compare with"
        assert not np.isnan(side[2, 0]).any()


def test_all_curves_of_a_step_are_of_the_same_requests() -> None:
    gone = continued(row1_inp3=0, row2_inp0=1)
    curves, means = distance_curves({"cosine/raw": distances()}, gone, 3, RESAMPLING)
    counts = {name: curve.n for name, curve in curves.items()}
    assert set(counts.values()) == {REQUESTS - 1, REQUESTS - 2}
    assert all(n == REQUESTS - (1 if "/k1/" in name else 2) for name, n in counts.items())
    assert means["cosine/raw/k3/benign"].n == REQUESTS - 2


def test_the_difference_is_paired_tested_and_adjusted() -> None:
    values = distances()
    curves, means = distance_curves({"cosine/raw": values}, continued(), 3, RESAMPLING)
    plain = values[:, :2, 1].mean(axis=1) - values[:, 2, 1]
    curve = curves["cosine/raw/k3/difference"]
    np.testing.assert_allclose(curve.value, plain.mean(axis=0))
    p = [stats.ttest_1samp(plain[:, depth], 0).pvalue for depth in range(1, DEPTH)]
    assert curve.p is not None
    assert curve.p[0] is None
    np.testing.assert_allclose(np.array(curve.p[1:], float), multipletests(p, method="holm")[1])
    assert max(curve.p[1:]) < 1e-6  # type: ignore[type-var]
    null = curves["cosine/raw/k3/null_difference"]
    assert min(null.p[1:]) > 0.01  # type: ignore[index, type-var]
    mean = means["cosine/raw/k3/difference"]
    assert mean.value == pytest.approx(plain[:, 1:].mean())
    assert mean.low < mean.value < mean.high < -0.2  # type: ignore[operator]


def test_the_gap_is_of_blocks_and_above_that_of_the_twins() -> None:
    curves, _ = distance_curves({"cosine/raw": distances()}, continued(), 3, RESAMPLING)
    gap, null = curves["cosine/raw/k1/gap"], curves["cosine/raw/k1/null_gap"]
    assert gap.value[0] is null.value[0] is None
    assert min(gap.low[1:]) > 0.2 > max(null.high[1:])  # type: ignore[type-var, operator]


def test_a_form_without_embedding_has_a_gap_there() -> None:
    values = distances()
    values[..., 0] = np.nan
    curves, means = distance_curves({"cosine/content_free": values}, continued(), 3, RESAMPLING)
    for name, curve in curves.items():
        assert curve.value[0] is None, name
        assert None not in curve.value[1:], name
    assert all(item.value is not None for item in means.values())


def test_rates_are_counts() -> None:
    gone = continued(row1_inp3=0, row2_inp0=1)
    found = continuation_rates(gone, 0.95)
    assert found["ended/k1/bare"].value == 0
    assert found["ended/k3/bare"].value == pytest.approx(1 / REQUESTS)
    assert found["ended/k1/malicious"].value == pytest.approx(1 / REQUESTS)
    tokens = gone.tokens
    same = np.mean([tokens[:, 0, 2] == tokens[:, at, 2] for at in (1, 2)])
    assert found["same_token/k3/benign"].value == pytest.approx(same)
    assert found["same_token/k3/benign"].n == REQUESTS


def test_auc_by_set_and_of_shuffled_labels() -> None:
    draw = np.random.default_rng(0)
    sets = np.repeat(["harmful", "benign", "borderline"], [20, 20, 20])
    scores = draw.normal(size=(60, DEPTH))
    scores[sets == "benign"] -= 9
    labels = np.stack([draw.permutation(sets == "harmful") for _ in range(3)])
    shuffled = draw.normal(size=(3, 60, DEPTH))
    curves = separability_curves(scores, sets, shuffled, labels, RESAMPLING)
    assert min(curves["auc/harmless"].value) > 0.65  # type: ignore[type-var]
    assert max(curves["auc/borderline"].value) < 0.7  # type: ignore[type-var]
    null = curves["auc/shuffled"]
    assert null.n == 3
    areas = [
        [roc_auc_score(label, column) for column in row.T]
        for row, label in zip(shuffled, labels, strict=True)
    ]
    np.testing.assert_allclose(np.array(null.value, float), np.mean(areas, axis=0))
    np.testing.assert_allclose(np.array(null.low, float), np.min(areas, axis=0))
    np.testing.assert_allclose(np.array(null.high, float), np.max(areas, axis=0))
    plain = separability_curves(
        scores[:40], sets[:40], shuffled[:, :40], labels[:, :40], RESAMPLING
    )
    assert "auc/borderline" not in plain
