"""From evidence to a verdict: a test per prediction, the largest p per claim, Holm over claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssah_exp.evaluation.holm import holm
from ssah_exp.evaluation.intervals import Estimate
from ssah_exp.evaluation.over_seeds import mean_over
from ssah_exp.evaluation.paired import Paired
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.claims.claim_file import (
    LOWER,
    NO_HIGHER,
    NO_LOWER,
    SAME,
    WITHIN,
    Claim,
    ClaimFile,
    Prediction,
)
from ssah_exp.reporting.claims.evidence import Evidence, gather
from ssah_exp.reporting.claims.over_prompts import halved, one_sided

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
UNDECIDED, NOT_RUN = "undecided at this n", "not run"
UNTESTABLE = "not testable"


@dataclass(frozen=True, kw_only=True)
class Finding(Evidence):
    """The evidence of one test, and what the test made of it.

    Attributes:
        test: The test.
        difference: Mean over seeds with Student's t interval; with one seed, or where all seeds
            are alike, over prompts if records keep their outcomes.
        effect: Cohen's d over seeds: mean difference divided by its standard deviation; None = one
            seed, or all alike, or a value that is not finite.
        p: One-sided, of no difference in the claimed direction; for ``same``, of a difference of
            the margin or more (TOST); for ``no_higher`` and ``no_lower``, of one that way; None =
            not testable.
        how: How ``p`` was made.
        contrary: Whether the interval leaves no room for what is claimed.
    """

    test: Prediction
    difference: Estimate
    effect: float | None
    p: float | None
    how: str
    contrary: bool


@dataclass(frozen=True)
class Settled:
    """A claim, with what its tests found.

    Attributes:
        claim: The claim.
        findings: One per test.
        p: The largest of its tests (an intersection-union test); None = a test has none.
        p_holm: Adjusted over the claims of the file.
        p_prompts_holm: The same of the tests over prompts; None = a test has none.
        verdict: ``supported``, ``not supported``, ``undecided at this n``, ``not run``, or ``not
            testable`` with what was run.
    """

    claim: Claim
    findings: tuple[Finding, ...]
    p: float | None
    p_holm: float | None
    p_prompts_holm: float | None
    verdict: str


def settle(
    claims: ClaimFile, records: Sequence[RunRecord], *, records_only: bool = False
) -> list[Settled]:
    """Hold every claim against the records.

    A claim is supported if all its tests are significant: its p value is the largest of theirs,
    adjusted by Holm over the claims. It is not supported if the interval of one of its tests
    leaves no room for a difference of the margin in the claimed direction (for ``same``,
    ``no_higher`` and ``no_lower``: if the whole interval lies beyond the margin).

    Args:
        claims: The claims; all of them are Holm's family, those that were not run included, for
            it was fixed when they were written.
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
    p_values = [_largest([finding.p for finding in findings]) for findings in found]
    p_prompts = [
        _largest([None if item.over_prompts is None else item.over_prompts.p for item in findings])
        for findings in found
    ]
    return [
        Settled(claim, findings, p, adjusted, prompts, _verdict(findings, adjusted, claims.alpha))
        for claim, findings, p, adjusted, prompts in zip(
            claims.claims, found, p_values, _holm(p_values), _holm(p_prompts), strict=True
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
        p = one_sided(sample, test.shows, margin)
        how = "two one-sided t tests over seeds" if test.shows == SAME else "t test over seeds"
        effect = float(sample.mean() / sample.std(ddof=1))
    elif evidence.paired is not None:
        if evidence.paired.difference.value is not None:  # a gap hides no seed's value
            difference = evidence.paired.difference
        p, how = _instead_of_seeds(evidence.paired, test.shows)
    else:
        how = "none: one seed, or all alike" if sample.size else "none: not run"
    return Finding(
        **vars(evidence),
        test=test,
        difference=difference,
        effect=effect,
        p=p,
        how=how,
        contrary=_contrary(difference, test.shows, margin),
    )


def _instead_of_seeds(paired: Paired, shows: str) -> tuple[float | None, str]:
    """The test over the same prompts, made one-sided; with a margin that of equivalence.

    Of a margin on one side only, that is more than is claimed.
    """
    if shows in WITHIN:
        return paired.p_equivalent, f"over prompts: {paired.equivalence_test}"
    value = paired.difference.value
    if paired.p is None or value is None:
        return None, f"over prompts: {paired.test}"
    return halved(paired.p, value, shows), f"over prompts: {paired.test}, one-sided"


def _contrary(difference: Estimate, shows: str, margin: float) -> bool:
    if difference.low is None or difference.high is None:
        return False
    above, below = difference.low > margin, difference.high < -margin
    if shows in WITHIN:
        return (above and shows != NO_LOWER) or (below and shows != NO_HIGHER)
    return -difference.low < margin if shows == LOWER else difference.high < margin


def _holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted over all claims: one without a p counts as one that is far from significant."""
    adjusted = holm([1.0 if p is None else p for p in p_values])
    return [None if p is None else at for p, at in zip(p_values, adjusted, strict=True)]


def _largest(p_values: Sequence[float | None]) -> float | None:
    there = [p for p in p_values if p is not None]
    return max(there) if len(there) == len(p_values) else None


def _verdict(findings: Sequence[Finding], p_holm: float | None, alpha: float) -> str:
    if any(finding.lacking for finding in findings):
        return UNTESTABLE
    if any(finding.difference.value is None for finding in findings):
        return NOT_RUN
    if p_holm is not None and p_holm < alpha:
        return SUPPORTED
    return NOT_SUPPORTED if any(finding.contrary for finding in findings) else UNDECIDED
