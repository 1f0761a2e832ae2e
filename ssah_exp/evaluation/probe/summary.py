"""From distances of every request and opening to curves over depth, and a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ssah_exp.evaluation.holm import holm
from ssah_exp.evaluation.intervals import Estimate, Resampling, rate
from ssah_exp.evaluation.probe.curves import (
    Curve,
    area_under_curve,
    auc_curve,
    mean_curve,
    range_curve,
    smoothed_gap,
)
from ssah_exp.evaluation.probe.names import (
    AUC_ALL,
    AUC_BORDERLINE,
    AUC_SHUFFLED,
    BENIGN,
    DIFFERENCE,
    ENDED,
    GAP,
    MALICIOUS,
    NULL_BENIGN,
    NULL_DIFFERENCE,
    NULL_GAP,
    NULL_MALICIOUS,
    SAME_TOKEN,
    SIDES,
    step_name,
)
from ssah_exp.evaluation.probe.openings import Opening
from ssah_exp.evaluation.questions import BORDERLINE, HARMFUL

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Continued:
    """Continuations of one model.

    Attributes:
        tokens: ``(requests, 1 + openings, longest step)`` int64; the bare request's comes first.
        openings: In the order of ``tokens``.
        steps: Generated tokens after which states were compared.
        stop_ids: Tokens that end an answer.
    """

    tokens: NDArray[np.int64]
    openings: Sequence[Opening]
    steps: Sequence[int]
    stop_ids: Sequence[int]

    def ended(self) -> NDArray[np.bool_]:
        """``(requests, 1 + openings, steps)``: whether the answer ended within so many tokens."""
        stopped = np.isin(self.tokens, list(self.stop_ids)).cumsum(axis=2) > 0
        at_steps: NDArray[np.bool_] = stopped[..., [step - 1 for step in self.steps]]
        return at_steps

    def same_token(self) -> NDArray[np.bool_]:
        """``(requests, openings, steps)``: whether the last token is that of the bare request."""
        same = self.tokens[:, 1:] == self.tokens[:, :1]
        at_steps: NDArray[np.bool_] = same[..., [step - 1 for step in self.steps]]
        return at_steps

    def named(self, name: str) -> list[int]:
        """Indices of the openings of one name."""
        return [at for at, opening in enumerate(self.openings) if opening.name == name]


def sides(distances: Array, continued: Continued) -> dict[str, Array]:
    """Average over the openings of each name, request by request.

    A continuation that has ended has no state after k tokens and is left out. A request is left out
    if its bare continuation has ended; for one name, also if all continuations of that name have.

    Args:
        distances: ``(requests, openings, steps, depth)``.
        continued: Continuations of the same requests and openings.

    Returns:
        Name of an opening -> ``(requests, steps, depth)``, NaN where nothing is left.
    """
    ended = continued.ended()
    gone = ended[:, 1:] | ended[:, :1]
    result: dict[str, Array] = {}
    for name in SIDES:
        where = continued.named(name)
        weights = (~gone[:, where]).astype(np.float64)[..., None]
        values = np.where(weights > 0, distances[:, where], 0.0)
        with np.errstate(invalid="ignore"):
            result[name] = values.sum(axis=1) / weights.sum(axis=1)
    return result


def distance_curves(
    distances: Mapping[str, Array], continued: Continued, window: int, resampling: Resampling
) -> tuple[dict[str, Curve], dict[str, Estimate]]:
    """Every curve, and the mean over blocks of every curve but the gaps.

    A request counts at a step only if every side has a value: all curves of a step are of the same
    requests.

    Args:
        distances: ``cosine/raw`` and so on -> ``(requests, openings, steps, depth)``.
        continued: Continuations of the same requests and openings.
        window: Depths in the moving average of the absolute difference, odd.
        resampling: For the intervals, over requests.

    Returns:
        Curves, and means, by :func:`~ssah_exp.evaluation.probe.names.step_name`.
    """
    curves: dict[str, Curve] = {}
    means: dict[str, Estimate] = {}
    for distance, values in distances.items():
        by_name = sides(values, continued)
        for at, step in enumerate(continued.steps):
            sample = {name: item[:, at] for name, item in by_name.items()}
            whole = np.all([~np.isnan(item[:, 1:]).any(axis=1) for item in sample.values()], axis=0)
            sample = {name: item[whole] for name, item in sample.items()}
            sample[DIFFERENCE] = sample[BENIGN] - sample[MALICIOUS]
            sample[NULL_DIFFERENCE] = sample[NULL_BENIGN] - sample[NULL_MALICIOUS]
            for name, item in sample.items():
                key = step_name(distance, step, name)
                curves[key] = mean_curve(item, resampling)
                means[key] = over_blocks(item, resampling)
            for name, of in ((GAP, DIFFERENCE), (NULL_GAP, NULL_DIFFERENCE)):
                inner = sample[of].copy()
                inner[:, 0] = np.nan  # blocks only: the embedding is smoothed into none of them
                key = step_name(distance, step, name)
                curves[key] = smoothed_gap(inner, window, resampling)
            for name in (DIFFERENCE, NULL_DIFFERENCE):
                key = step_name(distance, step, name)
                curves[key] = tested(curves[key], sample[name])
    return curves, means


def tested(curve: Curve, sample: Array) -> Curve:
    """Add p-values of a paired t test, Holm-adjusted over blocks; the embedding is not tested."""
    if len(sample) < 2:
        return curve
    p = np.asarray(stats.ttest_1samp(sample[:, 1:], 0.0, axis=0).pvalue)  # to stubs, a float
    adjusted = holm(np.nan_to_num(p, nan=1.0).tolist())
    method = f"{curve.method}; paired t test, Holm over {len(adjusted)} blocks"
    return replace(curve, method=method, p=[None, *adjusted])


def over_blocks(sample: Array, resampling: Resampling) -> Estimate:
    """Mean over the blocks of each request, then over requests; the embedding is left out.

    Args:
        sample: ``(requests, depth)``.
        resampling: For the interval.
    """
    means = np.asarray(sample[:, 1:].mean(axis=1, keepdims=True))
    curve = mean_curve(means, resampling)
    return Estimate(curve.value[0], curve.low[0], curve.high[0], curve.n, curve.unit, curve.method)


def continuation_rates(continued: Continued, confidence: float) -> dict[str, Estimate]:
    """How often answers had ended, and how often both continuations had the same last token.

    The latter tells how far a small distance comes from equal texts.
    """
    ended, same = continued.ended(), continued.same_token()
    found: dict[str, Estimate] = {}
    for at, step in enumerate(continued.steps):
        gone = ended[:, 0, at]
        key = step_name(ENDED, step, "bare")
        found[key] = rate(int(gone.sum()), len(gone), confidence, "requests")
        for name in SIDES:
            where = continued.named(name)
            # One observation is a request: the average over its openings.
            over, alike = ended[:, 1:][:, where, at], same[:, where, at]
            for what, share in ((ENDED, over), (SAME_TOKEN, alike)):
                total = float(share.mean(axis=1).sum())
                key = step_name(what, step, name)
                found[key] = rate(total, len(share), confidence, "requests")
    return found


def separability_curves(
    scores: Array,
    sets: Sequence[str] | NDArray[np.str_],
    shuffled: Array,
    labels: NDArray[np.bool_],
    resampling: Resampling,
) -> dict[str, Curve]:
    """Held-out AUC at every depth, and that of shuffled labels.

    Args:
        scores: ``(requests, depth)`` of a probe of harmful against all harmless requests.
        sets: ``(requests,)`` names: ``harmful``, ``benign``, ``borderline``.
        shuffled: ``(shuffles, requests, depth)``.
        labels: ``(shuffles, requests)`` shuffled labels.
        resampling: For the intervals, over requests.
    """
    names = np.asarray(sets)
    harmful = scores[names == HARMFUL]
    found = {AUC_ALL: auc_curve(harmful, scores[names != HARMFUL], resampling)}
    borderline = scores[names == BORDERLINE]
    if len(borderline):
        found[AUC_BORDERLINE] = auc_curve(harmful, borderline, resampling)
    null = [
        area_under_curve(row[label].T, row[~label].T)
        for row, label in zip(shuffled, labels, strict=True)
    ]
    found[AUC_SHUFFLED] = range_curve(np.stack(null))
    return found
