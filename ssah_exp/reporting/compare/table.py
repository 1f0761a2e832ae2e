"""Comparisons of arms as a table, for people or for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ssah_exp.evaluation.intervals import Estimate, level_text
from ssah_exp.reporting.captions import inputs_note, seeds_text, with_differences
from ssah_exp.reporting.compare.arms import OTHER_QUESTIONS, Comparisons, Line
from ssah_exp.reporting.compare.metrics import Kind
from ssah_exp.reporting.settings import setting_columns
from ssah_exp.reporting.text import (
    bracketed,
    format_frame,
    heading,
    machine_text,
    p_text,
    prose,
    rounded_text,
)

DIFFERS, NO_WORSE, EQUIVALENT = ("differs", "no-worse", "equivalent")
_OTHER_QUESTIONS = (
    "Gaps: arms were asked other questions of a task of the harness, so they are not paired: the "
    "hub's data changed between them."
)
_NO_OUTCOMES = (
    "Gaps: a record keeps no outcomes of single prompts (it was made before records did, or the "
    "judge is not one of its run). Run the same command again: what is cached is not computed anew."
)


def render_comparisons(settings: Sequence[Comparisons], form: str, claim: str | None) -> str:
    """Render every setting.

    Args:
        settings: At least one.
        form: ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.
        claim: ``differs``, ``no-worse`` or ``equivalent``: a column says where it is shown; None =
            no such column.
    """
    if form in ("csv", "json"):
        return machine_text(comparison_frame(settings, claim), form)
    captions = [_caption(setting, claim) for setting in settings]
    captions = with_differences(captions, [setting.records for setting in settings])
    parts: list[str] = []
    for setting, caption in zip(settings, captions, strict=True):
        frame = pd.DataFrame([_wide(line, setting, claim) for line in setting.lines])
        parts += [prose(caption, form), format_frame(frame, form)]
        if any(line.paired is None for line in setting.lines):
            parts.append(prose(_NO_OUTCOMES, form))
        if any(line.paired and line.paired.test == OTHER_QUESTIONS for line in setting.lines):
            parts.append(prose(_OTHER_QUESTIONS, form))
    return "\n\n".join(parts)


def comparison_frame(settings: Sequence[Comparisons], claim: str | None) -> pd.DataFrame:
    """One line per comparison.

    Columns: artefact, model, data, scu_budget, seeds, runs, judge, arm, against, metric,
    better (``lower`` or ``higher``), difference, low, high, n, unit, interval, effect, effect_name,
    effect_low, effect_high, p, p_holm, test, margin, p_no_worse, p_no_worse_holm, p_equivalent,
    p_equivalent_holm, equivalence_test, tost, seeds_difference, seeds_low, seeds_high, seeds_p,
    ranks, and ``claim`` and ``shown`` if one was asked for. Rates are shares from 0 to 1;
    differences of perplexity are in nats per token, those of scores in the judge's points.
    """
    lines = [_long(line, setting, claim) for setting in settings for line in setting.lines]
    return pd.DataFrame(lines)


def shown(line: Line, claim: str, confidence: float) -> bool | None:
    """Whether a claim holds at ``1 - confidence`` after Holm's adjustment; None = not testable."""
    p = {
        DIFFERS: line.p_holm,
        NO_WORSE: line.no_worse_holm,
        EQUIVALENT: line.equivalent_holm,
    }[claim]
    return None if p is None else p < 1 - confidence


def tost(line: Line, confidence: float) -> str | None:
    """``equivalent``, ``no worse`` or ``not shown`` after Holm's adjustment; None = not testable.

    ``not shown`` is no claim that the arm is worse: that is the two-sided test's to say.
    """
    if line.equivalent_holm is None:
        return None
    if shown(line, EQUIVALENT, confidence):
        return EQUIVALENT
    return "no worse" if shown(line, NO_WORSE, confidence) else "not shown"


def _long(line: Line, setting: Comparisons, claim: str | None) -> dict[str, Any]:
    confidence, paired, seeds = setting.resampling.confidence, line.paired, line.seeds
    asked = {} if claim is None else {"claim": claim, "shown": shown(line, claim, confidence)}
    return {
        "artefact": setting.records[0].artefact,
        **setting_columns(setting.records),
        "judge": setting.judge,
        "arm": line.arm,
        "against": line.against,
        "metric": line.metric,
        "better": "higher" if line.higher_is_better else "lower",
        "difference": line.difference if paired is None else paired.difference.value,
        "low": paired and paired.difference.low,
        "high": paired and paired.difference.high,
        "n": paired and paired.difference.n,
        "unit": paired and paired.difference.unit,
        "interval": paired and paired.difference.method,
        "effect": paired and paired.effect.value,
        "effect_name": paired and paired.effect_name,
        "effect_low": paired and paired.effect.low,
        "effect_high": paired and paired.effect.high,
        "p": paired and paired.p,
        "p_holm": line.p_holm,
        "test": paired and paired.test,
        "margin": paired and paired.margin,
        "p_no_worse": paired and paired.p_no_worse,
        "p_no_worse_holm": line.no_worse_holm,
        "p_equivalent": paired and paired.p_equivalent,
        "p_equivalent_holm": line.equivalent_holm,
        "equivalence_test": paired and paired.equivalence_test,
        "tost": tost(line, confidence),
        "seeds_difference": seeds.mean.value,
        "seeds_low": seeds.mean.low,
        "seeds_high": seeds.mean.high,
        "seeds_p": seeds.p,
        "ranks": None if line.ranks is None else " ".join(line.ranks),
        **asked,
    }


def _wide(line: Line, setting: Comparisons, claim: str | None) -> dict[str, str]:
    paired, confidence = line.paired, setting.resampling.confidence
    if paired is None or paired.difference.value is None:
        difference = Estimate(line.difference, None, None, 0, "", "")
    else:
        difference = paired.difference
    cells = {
        "arm": line.arm,
        "against": line.against,
        "metric": heading(line.metric).replace(" %", ""),
        "n": str(difference.n or ""),
        "difference": _interval(difference, line.kind),
        "effect": "" if paired is None else rounded_text(paired.effect),
        "p": "" if paired is None else p_text(paired.p),
        "p, Holm": p_text(line.p_holm),
        "TOST": tost(line, confidence) or "",
        "p of TOST, Holm": p_text(line.equivalent_holm),
    }
    if len(setting.records) > 1:
        cells["over seeds"] = _interval(line.seeds.mean, line.kind)
        cells["p over seeds"] = p_text(line.seeds.p)
    cells["rank"] = ", ".join(line.ranks or [])
    if claim is not None:
        answer = {True: "yes", False: "no", None: ""}[shown(line, claim, confidence)]
        cells[f"{claim}?"] = answer
    return cells


# Kind -> factor, format and unit in which its differences are shown.
_WRITTEN = {
    Kind.RATE: (100, "{:+.1f}", "points"),
    Kind.AVERAGE: (100, "{:+.1f}", "points"),
    Kind.LOSS: (1, "{:+.3f}", "nats per token"),
    Kind.SCORE: (1, "{:+.2f}", "of the judge's points"),
}


def _interval(estimate: Estimate, kind: Kind) -> str:
    """Points for rates, nats for losses, the judge's own for scores, always with their sign."""
    scale, form, _ = _WRITTEN[kind]
    low, high = estimate.low, estimate.high
    return bracketed(estimate.value, low, high, lambda end: form.format(scale * end + 0.0))


def _caption(setting: Comparisons, claim: str | None) -> str:
    first = setting.records[0]
    config = first.config
    better = any(line.higher_is_better for line in setting.lines)
    direction = "worse, of utility and MT-bench better" if better else "worse"
    asked = "" if claim is None else f" Claim asked for: {claim}."
    tested = sum(line.p_holm is not None for line in setting.lines)
    return (
        f"{first.artefact}, {config['model']['name']}, data {config['data']['name']}, budget SCU "
        f"{config['units']['budgets']['scu']:g}, judge {setting.judge}, "
        f"{seeds_text(setting.records)}. Difference: arm less reference on the same "
        f"{_over(setting)}, {level_text(setting.resampling.confidence)} interval; "
        f"above 0 is {direction}. Effect: {' or '.join(_effects(setting))}. Holm over the "
        f"{tested} lines of this table that have a p. TOST margin: "
        f"{' and '.join(_limits(setting)) or 'none'}. Rank: place of the arm among itself and its "
        f"control draws, the worst first, seed by seed.{inputs_note(setting.apart)}{asked}"
    )


def _over(setting: Comparisons) -> str:
    """What differences are over, and their unit."""
    found = {(line.kind, line.higher_is_better) for line in setting.lines}
    named = {
        "prompts (points)": (Kind.RATE, False) in found,
        "questions (points)": bool(found & {(Kind.RATE, True), (Kind.AVERAGE, True)}),
        "answers (the judge's points)": any(kind is Kind.SCORE for kind, _ in found),
        "text windows (nats per token)": any(kind is Kind.LOSS for kind, _ in found),
    }
    return " or ".join(text for text, there in named.items() if there)


def _effects(setting: Comparisons) -> list[str]:
    names = dict.fromkeys(line.paired.effect_name for line in setting.lines if line.paired)
    return list(names) or ["none"]


def _limits(setting: Comparisons) -> list[str]:
    """Every margin in use, once."""
    found = {(line.kind, line.paired.margin) for line in setting.lines if line.paired}
    written = []
    for kind, margin in sorted(found):
        scale, _, unit = _WRITTEN[kind]
        written.append(f"{scale * margin:g} {unit}")
    return list(dict.fromkeys(written))
