"""Settled claims as tables: the verdicts, and the tests behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import pandas as pd

from ssah_exp.evaluation.intervals import Estimate, level_text
from ssah_exp.evaluation.metric_names import PERPLEXITY, TRAIN_LOSS
from ssah_exp.evaluation.shares import is_share
from ssah_exp.reporting.claims.claim_file import NO_HIGHER, NO_LOWER, SAME, ClaimFile
from ssah_exp.reporting.claims.over_prompts import OverPrompts
from ssah_exp.reporting.claims.settle import Finding, Settled
from ssah_exp.reporting.text import (
    bracketed,
    format_frame,
    machine_text,
    number,
    p_text,
    prose,
)


def render_claims(claims: ClaimFile, settled: Sequence[Settled], form: str) -> str:
    """Two tables for people, or a long one for machines.

    Args:
        claims: Their level and margins go into the caption.
        settled: In order.
        form: ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    if form in ("csv", "json"):
        return machine_text(claims_frame(claims, settled), form)
    verdicts = pd.DataFrame(
        [
            {
                "": str(at),
                "claim": item.claim.claim,
                "source": item.claim.source,
                "seeds": str(min(len(finding.by_seed) for finding in item.findings)),
                "p": p_text(item.p),
                "p, Holm": p_text(item.p_holm),
                "over prompts": p_text(item.p_prompts_holm),
                "verdict": item.verdict,
            }
            for at, item in enumerate(settled, 1)
        ]
    )
    tests = pd.DataFrame(
        [_line(at, finding) for at, item in enumerate(settled, 1) for finding in item.findings]
    )
    return "\n\n".join(
        [
            format_frame(verdicts, form),
            prose(_caption(claims, settled), form),
            format_frame(tests, form),
        ]
    )


def claims_frame(claims: ClaimFile, settled: Sequence[Settled]) -> pd.DataFrame:
    """One line per test, in the metric's own unit (rates from 0 to 1, perplexity in nats).

    Args:
        claims: The margins of tests that name none.
        settled: In order.
    """
    return pd.DataFrame(
        [
            {
                "claim": item.claim.claim,
                "source": item.claim.source,
                "claim_verdict": item.verdict,
                "arm": finding.test.arm,
                "against": finding.test.against,
                "metric": finding.test.metric,
                "shows": finding.test.shows,
                "margin": claims.margin(finding.test),
                "csv": finding.test.csv,
                "difference": finding.difference.value,
                "low": finding.difference.low,
                "high": finding.difference.high,
                "interval": finding.difference.method,
                "cohens_d": finding.effect,
                "seeds": len(finding.by_seed),
                "by_seed": " ".join(f"{seed}:{x:.6g}" for seed, x in finding.by_seed.items()),
                "p": finding.p,
                "test": finding.how,
                "contrary": finding.contrary,
                **_prompts_columns(finding.over_prompts),
                "claim_p": item.p,
                "claim_p_holm": item.p_holm,
                "claim_p_prompts_holm": item.p_prompts_holm,
                "lacking": finding.lacking,
                "unscored": finding.unscored,
            }
            for item in settled
            for finding in item.findings
        ]
    )


def _line(at: int, finding: Finding) -> dict[str, str]:
    test = finding.test
    return {
        "": str(at),
        "arm": test.arm,
        "against": "zero" if test.against is None else test.against,
        "metric": test.metric.replace("/", " ", 1),
        "claimed": test.shows.replace("_", " "),
        "difference": _with_interval(finding),
        "by seed": ", ".join(_plain(value, test.metric) for value in finding.by_seed.values()),
        "Cohen's d": "" if finding.effect is None else number(finding.effect),
        "p": p_text(finding.p),
        "over prompts": _over_prompts(finding),
        "no room": "yes" if finding.contrary else "",
    }


def _losses(findings: Sequence[Finding]) -> str:
    """What the margin of losses is of."""
    trained = any(finding.test.metric == TRAIN_LOSS for finding in findings)
    return "perplexity and training loss" if trained else "perplexity"


def _caption(claims: ClaimFile, settled: Sequence[Settled]) -> str:
    findings = [finding for item in settled for finding in item.findings]
    parts = [
        "A claim is supported if all its tests below are significant: its p is the largest of "
        f"theirs, adjusted by Holm over {len(settled)} claims, "
        f"level {claims.alpha:g}. It is not supported if one of its intervals leaves no room for a "
        f"difference of {100 * claims.rate_margin:g} points ({claims.loss_margin:g} nats of "
        f"{_losses(findings)}; other margins in the file of claims) in the claimed direction.",
        f"Difference: arm less reference, mean over seeds with Student's t interval, "
        f"{level_text(1 - claims.alpha)}; rates in points, perplexity as a ratio. Cohen's d: that "
        "mean by its standard deviation over seeds. p: one-sided t test over seeds.",
    ]
    if any(finding.test.shows == SAME for finding in findings):
        parts.append("same: two one-sided t tests against the margin.")
    if any(finding.test.shows in (NO_HIGHER, NO_LOWER) for finding in findings):
        parts.append("no higher, no lower: a one-sided t test against the margin.")
    if any(finding.over_prompts for finding in findings):
        parts.append(
            "Over prompts: the same difference with seeds averaged prompt by prompt, its interval "
            "and one-sided p by t (where fewer than ten prompts differ, exact); above, the "
            "largest of a claim's, adjusted by Holm. It asks whether other prompts would say the "
            "same, where p asks it of other seeds; verdicts go by seeds."
        )
    files = sorted({str(item.test.csv) for item in findings if item.test.csv and item.by_seed})
    if files:
        parts.append(f"Not from the records but from files beside the claims: {', '.join(files)}.")
    parts += [*_lacking(settled), *_unscored(settled)]
    if any(finding.how.startswith("over prompts") for finding in findings):
        parts.append("With one seed, or where all seeds differ alike: over prompts.")
    return " ".join(parts)


def _lacking(settled: Sequence[Settled]) -> list[str]:
    """A sentence for each claim and reason why what was run is no evidence for it."""
    found = [
        f"Claim {at}: {finding.lacking}"
        for at, item in enumerate(settled, 1)
        for finding in item.findings
        if finding.lacking
    ]
    return list(dict.fromkeys(found))


def _unscored(settled: Sequence[Settled]) -> list[str]:
    """A sentence for each number of unscored answers, with the claims that stand on the others."""
    claims: dict[str, list[str]] = {}
    for at, item in enumerate(settled, 1):
        for said in dict.fromkeys(finding.unscored for finding in item.findings):
            claims.setdefault(said, []).append(str(at))
    claims.pop("", None)
    return [
        f"Claim{'s' if len(which) > 1 else ''} {', '.join(which)}: {said}"
        for said, which in claims.items()
    ]


def _with_interval(finding: Finding) -> str:
    found, metric = finding.difference, finding.test.metric
    value = None if found.value is None or math.isnan(found.value) else found.value
    return bracketed(value, found.low, found.high, partial(_plain, metric=metric))


def _over_prompts(finding: Finding) -> str:
    if finding.over_prompts is None:
        return ""
    found, write = finding.over_prompts.difference, partial(_plain, metric=finding.test.metric)
    ends = bracketed(found.value, found.low, found.high, write)
    return f"{ends}, p {p_text(finding.over_prompts.p)}"


def _prompts_columns(over: OverPrompts | None) -> dict[str, float | int | None]:
    found = Estimate(None, None, None, 0, "", "") if over is None else over.difference
    return {
        "over_prompts": found.value,
        "over_prompts_low": found.low,
        "over_prompts_high": found.high,
        "prompts": found.n or None,
        "over_prompts_p": None if over is None else over.p,
    }


def _plain(value: float, metric: str) -> str:
    if math.isnan(value):  # of two perplexities that both overflowed
        return "inf/inf"
    if metric == PERPLEXITY:
        return f"{math.exp(value):.3g}x" if value < 50 else "inf"
    if is_share(metric):
        return f"{100 * value:+.0f}"
    return f"{value:+.3g}"
