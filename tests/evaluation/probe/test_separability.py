"""The linear probe: sees what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssah_exp.evaluation.probe.separability import Probing, held_out_scores, shuffled_scores

PROBING = Probing(folds=4, shuffles=6, strength=0.05, seed=1)
LABELS = np.arange(60) < 25
WIDTH = 90  # more channels than requests: training scores would be perfect whatever the labels


def states() -> np.ndarray:
    """Depth 0 holds nothing, depth 1 a direction of the label, depth 2 a constant channel."""
    noise = np.random.default_rng(0).normal(size=(60, 3, WIDTH))
    noise[:, 1, :4] += 4.0 * LABELS[:, None]
    noise[:, 2, 5] = 3.0
    return noise


def test_scores_are_those_of_a_plain_scikit_learn_pipeline() -> None:
    found = held_out_scores(states(), LABELS, PROBING)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, tol=1e-8, max_iter=5000))
    for depth in range(3):
        wanted = cross_val_predict(
            plain,
            states()[:, depth],
            LABELS,
            cv=StratifiedKFold(4, shuffle=True, random_state=1),
            method="decision_function",
        )
        np.testing.assert_allclose(found[:, depth], wanted, atol=5e-3)


def test_it_sees_the_direction_and_no_more() -> None:
    scores = held_out_scores(states(), LABELS, PROBING)
    aucs = [roc_auc_score(LABELS, column) for column in scores.T]
    assert aucs[1] > 0.95
    assert abs(aucs[0] - 0.5) < 0.2, "held out: noise must not look separable"


def test_shuffled_labels_are_near_chance() -> None:
    scores, false = shuffled_scores(states(), LABELS, PROBING)
    assert scores.shape == (6, 60, 3)
    assert (false.sum(axis=1) == LABELS.sum()).all()
    assert len(np.unique(false, axis=0)) == 6
    aucs = [roc_auc_score(label, row[:, 1]) for row, label in zip(scores, false, strict=True)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.1)
    assert max(aucs) < 0.8


def test_the_seed_decides_folds_and_shuffles() -> None:
    other = Probing(folds=4, shuffles=6, strength=0.05, seed=2)
    first = held_out_scores(states(), LABELS, PROBING)
    assert np.array_equal(first, held_out_scores(states(), LABELS, PROBING))
    assert not np.array_equal(first, held_out_scores(states(), LABELS, other))
