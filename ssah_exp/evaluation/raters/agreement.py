"""How far judges agree with each other and with people, and rates corrected for their errors.

Kappa, its standard error (Fleiss, Cohen and Everitt 1969) and McNemar's exact test come from
statsmodels. Verdicts are compared where both raters gave one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa

from ssah_exp.evaluation.intervals import Estimate, level_text, rate
from ssah_exp.evaluation.judges import Verdict

_DRAWS = 100_000


@dataclass(frozen=True)
class Confusion:
    """Counts of answers by two raters' verdicts; each name has the first rater's verdict first."""

    refused_refused: int
    refused_complied: int
    complied_refused: int
    complied_complied: int

    @classmethod
    def of(cls, first: Sequence[Verdict], second: Sequence[Verdict]) -> Confusion:
        """Count pairs in which neither is unscored."""
        pairs = list(zip(first, second, strict=True))
        refused, complied = Verdict.REFUSED, Verdict.COMPLIED
        return cls(
            *(pairs.count((one, two)) for one in (refused, complied) for two in (refused, complied))
        )

    @property
    def n(self) -> int:
        """Number of answers that both raters scored."""
        return sum(asdict(self).values())

    @property
    def table(self) -> list[list[int]]:
        """Rows: the first rater's refused, complied; columns: the second's."""
        return [
            [self.refused_refused, self.refused_complied],
            [self.complied_refused, self.complied_complied],
        ]


@dataclass(frozen=True)
class RaterAgreement:
    """Two raters over the same answers.

    Attributes:
        first: A rater.
        second: The other; people, where they are one of the two.
        confusion: Counts.
        unscored: Number of answers that at least one of them left unscored.
        agreement: Share of equal verdicts.
        kappa: Cohen's kappa; a gap where a rater gave one verdict only, or none.
        bias: Rate of compliance by the first minus that by the second.
        mcnemar_p: Two-sided exact p of no bias; None where the raters never differ.
    """

    first: str
    second: str
    confusion: Confusion
    unscored: int
    agreement: Estimate
    kappa: Estimate
    bias: Estimate
    mcnemar_p: float | None


def compare(
    first: tuple[str, Sequence[Verdict]],
    second: tuple[str, Sequence[Verdict]],
    confidence: float,
) -> RaterAgreement:
    """Compare two raters, each a name and its verdicts on the same answers in the same order."""
    confusion = Confusion.of(first[1], second[1])
    equal = confusion.refused_refused + confusion.complied_complied
    differ = confusion.refused_complied + confusion.complied_refused
    return RaterAgreement(
        first=first[0],
        second=second[0],
        confusion=confusion,
        unscored=len(first[1]) - confusion.n,
        agreement=rate(equal, confusion.n, confidence, "answers"),
        kappa=kappa(confusion, confidence),
        bias=bias(confusion, confidence),
        mcnemar_p=float(mcnemar(confusion.table, exact=True).pvalue) if differ else None,
    )


def kappa(confusion: Confusion, confidence: float) -> Estimate:
    """Cohen's kappa with its large-sample interval, cut to [-1, 1]."""
    table = np.array(confusion.table)
    n = confusion.n
    if n == 0 or 0 in table.sum(axis=0) or 0 in table.sum(axis=1):
        return Estimate(None, None, None, n, "answers", "none: a rater gave one verdict only")
    found = cohens_kappa(table)
    value = float(found.kappa)
    if value == 1.0:
        return Estimate(value, None, None, n, "answers", "none: the raters never differ")
    margin = _z(confidence) * float(found.std_kappa)
    low, high = max(-1.0, value - margin), min(1.0, value + margin)
    return Estimate(value, low, high, n, "answers", f"large-sample {level_text(confidence)}")


def bias(confusion: Confusion, confidence: float) -> Estimate:
    """Difference of two paired rates of compliance, first minus second.

    The interval is Agresti and Min's (2005): Wald's, with half an answer added to each cell, so
    that it keeps its width where the raters never differ.
    """
    n, more, less = confusion.n, confusion.complied_refused, confusion.refused_complied
    method = f"Agresti-Min {level_text(confidence)}"
    if n == 0:
        return Estimate(None, None, None, 0, "answers", method)
    total, one, other = n + 2, more + 0.5, less + 0.5
    centre = (one - other) / total
    margin = _z(confidence) * float(np.sqrt((one + other) - (one - other) ** 2 / total)) / total
    value = (more - less) / n
    low, high = max(-1.0, centre - margin), min(1.0, centre + margin)
    return Estimate(value, low, high, n, "answers", method)


@dataclass(frozen=True)
class Errors:
    """A judge measured against people.

    Attributes:
        sensitivity: Share of the answers people call compliance that the judge calls compliance.
        specificity: Share of the answers people call refusals that the judge calls refusals.
    """

    sensitivity: Estimate
    specificity: Estimate


def errors(judge: Sequence[Verdict], people: Sequence[Verdict], confidence: float) -> Errors:
    """Error rates of a judge, on the answers that both it and people scored."""
    seen = Confusion.of(judge, people)
    complied = seen.complied_complied + seen.refused_complied
    refused = seen.refused_refused + seen.complied_refused
    return Errors(
        rate(seen.complied_complied, complied, confidence, "answers"),
        rate(seen.refused_refused, refused, confidence, "answers"),
    )


def corrected(apparent: Estimate, measured: Errors, confidence: float) -> Estimate:
    """A rate of compliance corrected for a judge's errors, clipped to [0, 1].

    Rogan and Gladen 1978: (rate + specificity - 1) / (sensitivity + specificity - 1). All three
    are shares of finite samples; the interval comes from draws of each from its Jeffreys
    posterior, which keeps its width at shares of 0 and 1 where resampling would not. The correction
    holds if the judge errs on these answers as often as on those that people labelled.

    Args:
        apparent: The rate that the judge finds.
        measured: The judge's errors on labelled answers.
        confidence: Level of the interval.
    """
    sensitivity, specificity = measured.sensitivity, measured.specificity
    n, unit = apparent.n, apparent.unit
    values = (apparent.value, sensitivity.value, specificity.value)
    if any(value is None for value in values):
        return Estimate(None, None, None, n, unit, "none: a rate is missing")
    found, hits, passes = (float(value) for value in values if value is not None)
    if hits + passes <= 1:
        return Estimate(None, None, None, n, unit, "none: the judge is no better than chance")
    value = (found + passes - 1) / (hits + passes - 1)
    draw = np.random.default_rng(0)
    rates, hit, passed = (_jeffreys(item, draw) for item in (apparent, sensitivity, specificity))
    # Draws in which the judge is no better than chance say nothing about the rate.
    power = hit + passed - 1
    usable = power > 0
    draws = np.clip((rates + passed - 1)[usable] / power[usable], 0, 1)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    clipped = min(1.0, max(0.0, value))
    method = f"Rogan-Gladen, Jeffreys draws {level_text(confidence)}, clipped to [0, 1]"
    if clipped != value:
        method += f" from {value:.3f}"
    if high == 0 or low == 1:
        # Nearly all draws were clipped to one end: an interval of no width would be a false claim.
        reason = "none: beyond what the measured errors allow, so they do not carry over"
        return Estimate(clipped, None, None, n, unit, f"{method}; {reason}")
    return Estimate(clipped, min(float(low), clipped), max(float(high), clipped), n, unit, method)


def _jeffreys(share: Estimate, draw: np.random.Generator) -> np.ndarray[tuple[int], Any]:
    """Draws from the posterior of a share under Jeffreys' prior, ``(_DRAWS,)`` float64."""
    successes = float(share.value or 0.0) * share.n
    return draw.beta(successes + 0.5, share.n - successes + 0.5, size=_DRAWS)


def _z(confidence: float) -> float:
    return float(stats.norm.ppf(0.5 + confidence / 2))
