"""A linear probe per depth: can harmful and harmless requests be told apart there at all?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Probing:
    """How the linear probe is trained and checked.

    Attributes:
        folds: Parts of the cross-validation, over requests.
        shuffles: Times the labels are shuffled for the control.
        strength: Inverse of the L2 penalty (scikit-learn's ``C``).
        seed: Decides folds and shuffles.
    """

    folds: int
    shuffles: int
    strength: float
    seed: int


def held_out_scores(states: Array, labels: NDArray[np.bool_], probing: Probing) -> Array:
    """Score every request by a probe that was trained without it.

    Features are standardised with the training folds' means and deviations, and rotated into the
    span of the training requests: with an L2 penalty that changes no score and costs far less
    where there are more channels than requests.

    Args:
        states: ``(requests, depth, hidden)``.
        labels: ``(requests,)``, True = harmful.
        probing: Folds, penalty, seed.

    Returns:
        ``(requests, depth)`` log-odds of being harmful.
    """
    # Half a second of imports that a run without a probe need not wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    scores = np.empty(states.shape[:2])
    splitter = StratifiedKFold(probing.folds, shuffle=True, random_state=probing.seed)
    # These matrices are small: threads wait for each other longer than they compute.
    with threadpool_limits(limits=1):
        for train, test in splitter.split(states[:, 0], labels):
            for depth in range(states.shape[1]):
                known, unknown = _reduced(states[train, depth], states[test, depth])
                model = LogisticRegression(C=probing.strength, max_iter=1000)
                model.fit(known, labels[train])
                scores[test, depth] = model.decision_function(unknown)
    return scores


def _reduced(train: Array, test: Array) -> tuple[Array, Array]:
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)  # a channel without variance says nothing
    standard, other = (train - mean) / scale, (test - mean) / scale
    if train.shape[1] <= train.shape[0]:
        return standard, other
    _, _, directions = np.linalg.svd(standard, full_matrices=False)
    return standard @ directions.T, other @ directions.T


def shuffled_scores(
    states: Array, labels: NDArray[np.bool_], probing: Probing
) -> tuple[Array, NDArray[np.bool_]]:
    """The control: the same probe on labels that say nothing.

    Returns:
        Scores ``(shuffles, requests, depth)`` and the shuffled labels ``(shuffles, requests)``.
    """
    draw = np.random.default_rng([probing.seed, 1])
    false = np.stack([draw.permutation(labels) for _ in range(probing.shuffles)])
    return np.stack([held_out_scores(states, row, probing) for row in false]), false
