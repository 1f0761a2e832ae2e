"""From evidence to a verdict: a test per prediction, the largest p per claim, Holm over claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ssah_exp.evaluation.holm import holm
from ssah_exp.evaluation.intervals import Estimate, mean_over
from ssah_exp.evaluation.paired import Paired
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.claims.claim_file import LOWER, SAME, Claim, ClaimFile, Prediction
from ssah_exp.reporting.claims.evidence import Evidence, gather

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
UNDECIDED, NOT_RUN = "undecided at this n", "not run"
UNTESTABLE = "not testable"


@dataclass(frozen=True)
class Finding:
    """What one test found.

    Attributes:
        test: The test.
        difference: Mean over seeds with Student's t interval; with one seed, or where all seeds
            are alike, over prompts if records keep their outcomes.
        by_seed: Seed -> difference.
        effect: Cohen's d over seeds: mean difference divided by its standard deviation; None = one
            seed, or all alike, or a value that is not finite.
        p: One-sided, of no difference in the claimed direction; for ``same``, of a difference of
            the margin or more (TOST); None = not testable.
        how: How ``p`` was made.
        contrary: Whether the interval leaves no room for what is claimed.
        lacking: As in :class:`Evidence`.
    """

    test: Prediction
    difference: Estimate
    by_seed: dict[int, float]
    effect: float | None
    p: float | None
    how: str
    contrary: bool
    lacking: str = ""


@dataclass(frozen=True)
class Settled:
    """A claim, with what its tests found.

    Attributes:
        claim: The claim.
        findings: One per test.
        p: The largest of its tests (an intersection-union test); None = a test has none.
        p_holm: Adjusted over the claims of the file.
        verdict: ``supported``, ``not supported``, ``undecided at this n``, ``not run``, or ``not
            testable`` with what was run.
    """

    claim: Claim
    findings: tuple[Finding, ...]
    p: float | None
    p_holm: float | None
    verdict: str


def settle(
    claims: ClaimFile, records: Sequence[RunRecord], *, records_only: bool = False
) -> list[Settled]:
    """Hold every claim against the records.

    A claim is supported if all its tests are significant: its p value is the largest of theirs,
    adjusted by Holm over the claims. It is not supported if the interval of one of its tests
    leaves no room for a difference of the margin in the claimed direction (for ``same``: if the
    whole interval lies beyond the margin).

    Args:
        claims: The claims; Holm's family are those of them that could be tested.
        records: Finished runs.
        records_only: As in :func:`gather`.

    Raises:
        ConfigError: See :func:`gather`.
    """
    found = [
        tuple(
            _tested(claims, test, evidence)
            for test, evidence in zip(
                claim.tests, gather(claims, claim, records, records_only=records_only), strict=True
            )
        )
        for claim in claims.claims
    ]
    p_values = [_largest(findings) for findings in found]
    return [
        Settled(claim, findings, p, adjusted, _verdict(findings, adjusted, claims.alpha))
        for claim, findings, p, adjusted in zip(
            claims.claims, found, p_values, holm(p_values), strict=True
        )
    ]


def _tested(claims: ClaimFile, test: Prediction, evidence: Evidence) -> Finding:
    sample = np.array(list(evidence.by_seed.values()), dtype=np.float64)
    margin = claims.margin(test)
    effect: float | None = None
    p: float | None = None
    difference = mean_over(sample.tolist(), 1 - claims.alpha, "seeds")
    if not np.isfinite(sample).all():
        how = "none: a value is not finite"
    elif not evidence.alike:
        p, how = _over_seeds(sample, test.shows, margin)
        effect = float(sample.mean() / sample.std(ddof=1))
    elif evidence.paired is not None:
        if evidence.paired.difference.value is not None:  # a gap hides no seed's value
            difference = evidence.paired.difference
        p, how = _over_prompts(evidence.paired, test.shows)
    else:
        how = "none: one seed, or all alike" if sample.size else "none: not run"
    contrary = _contrary(difference, test.shows, margin)
    return Finding(test, difference, evidence.by_seed, effect, p, how, contrary, evidence.lacking)


def _over_seeds(sample: NDArray[np.float64], shows: str, margin: float) -> tuple[float, str]:
    if shows == SAME:
        above = stats.ttest_1samp(sample, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(sample, margin, alternative="less").pvalue
        return float(max(above, below)), "two one-sided t tests over seeds"
    if shows == LOWER:
        sample = -sample
    return float(stats.ttest_1samp(sample, 0.0, alternative="greater").pvalue), "t test over seeds"


def _over_prompts(paired: Paired, shows: str) -> tuple[float | None, str]:
    """The test over the same prompts, made one-sided; for ``same`` that of equivalence."""
    if shows == SAME:
        return paired.p_equivalent, f"over prompts: {paired.equivalence_test}"
    value = paired.difference.value
    if paired.p is None or value is None:
        return None, f"over prompts: {paired.test}"
    claimed = value < 0 if shows == LOWER else value > 0
    return paired.p / 2 if claimed else 1 - paired.p / 2, f"over prompts: {paired.test}, one-sided"


def _contrary(difference: Estimate, shows: str, margin: float) -> bool:
    if difference.low is None or difference.high is None:
        return False
    if shows == SAME:
        return difference.low > margin or difference.high < -margin
    return -difference.low < margin if shows == LOWER else difference.high < margin


def _largest(findings: Sequence[Finding]) -> float | None:
    there = [finding.p for finding in findings if finding.p is not None]
    return max(there) if len(there) == len(findings) else None


def _verdict(findings: Sequence[Finding], p_holm: float | None, alpha: float) -> str:
    if any(finding.lacking for finding in findings):
        return UNTESTABLE
    if any(finding.difference.value is None for finding in findings):
        return NOT_RUN
    if p_holm is not None and p_holm < alpha:
        return SUPPORTED
    return NOT_SUPPORTED if any(finding.contrary for finding in findings) else UNDECIDED
