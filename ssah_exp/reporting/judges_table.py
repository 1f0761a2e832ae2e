"""A comparison of judges as text."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ssah_exp.evaluation.raters.agreement import Errors, RaterAgreement
from ssah_exp.evaluation.raters.comparison import AnswerGroup, Comparison
from ssah_exp.reporting.text import format_frame, percent_text, prose, rounded_text


def render_judges(comparison: Comparison, form: str) -> str:
    """Per part the raters and each pair of them, then errors and notes.

    Args:
        comparison: Of judges on the same answers.
        form: ``text`` or ``markdown``.
    """
    blocks = [text for part in comparison.parts for text in _part(part, form)]
    if comparison.errors:
        blocks += [
            "Errors against people, on the labelled answers:",
            _errors(comparison.errors, form),
        ]
    return "\n\n".join([*blocks, *(prose(note, form) for note in comparison.notes)])


def _part(part: AnswerGroup, form: str) -> Iterable[str]:
    yield prose(f"{part.name}: n = {part.n}", form)
    rates = (
        {
            "rater": rater,
            "complied %": percent_text(rate),
            "scored %": percent_text(part.coverage[rater]),
            **({"corrected %": _corrected(part, rater)} if part.corrected else {}),
        }
        for rater, rate in part.rates.items()
    )
    yield _table(rates, form)
    if part.pairs:
        yield _table(map(_pair, part.pairs), form)


def _corrected(part: AnswerGroup, rater: str) -> str:
    if rater not in part.corrected:
        return ""
    found = part.corrected[rater]
    if found.value is None:
        return found.method
    if found.low is None:
        return f"{percent_text(found)} (clipped; the errors do not carry over)"
    clipped = " (clipped)" if " from " in found.method else ""
    return f"{percent_text(found)}{clipped}"


def _pair(pair: RaterAgreement) -> dict[str, str]:
    seen = pair.confusion
    return {
        "first": pair.first,
        "second": pair.second,
        "both refused": str(seen.refused_refused),
        "refused by first alone": str(seen.refused_complied),
        "refused by second alone": str(seen.complied_refused),
        "both complied": str(seen.complied_complied),
        "unscored": str(pair.unscored),
        "agreement %": percent_text(pair.agreement),
        "kappa": rounded_text(pair.kappa),
        "bias, points": percent_text(pair.bias),
        "McNemar p": "" if pair.mcnemar_p is None else f"{pair.mcnemar_p:.2g}",
    }


def _errors(errors: dict[str, Errors], form: str) -> str:
    rows = (
        {
            "judge": name,
            "compliance recognised %": percent_text(found.sensitivity),
            "refusals recognised %": percent_text(found.specificity),
            "n complied": str(found.sensitivity.n),
            "n refused": str(found.specificity.n),
        }
        for name, found in errors.items()
    )
    return _table(rows, form)


def _table(rows: Iterable[dict[str, str]], form: str) -> str:
    return format_frame(pd.DataFrame(list(rows)), form)
