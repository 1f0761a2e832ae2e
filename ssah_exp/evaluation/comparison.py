"""Several judges, and people, over the same answers: everything `judges compare` reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from ssah_exp.evaluation.agreement import Agreement, Errors, compare, corrected, errors
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.judges import HarmJudge, Judge, Verdict
from ssah_exp.evaluation.labelled import Answers
from ssah_exp.evaluation.questions import HARMFUL

PEOPLE = "people"


@dataclass(frozen=True)
class Part:
    """One group of answers.

    Attributes:
        name: As in the file.
        n: Answers in it.
        rates: Rater -> rate of compliance among the answers it scored.
        coverage: Rater -> share it scored.
        pairs: Every two raters.
        corrected: Judge -> rate corrected for its errors; empty without labelled answers.
    """

    name: str
    n: int
    rates: dict[str, Estimate]
    coverage: dict[str, Estimate]
    pairs: list[Agreement]
    corrected: dict[str, Estimate]


@dataclass(frozen=True)
class Comparison:
    """The whole report.

    Attributes:
        parts: Groups of answers.
        errors: Judge -> errors on the labelled answers; empty without.
        notes: What a reader must know.
    """

    parts: list[Part]
    errors: dict[str, Errors]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def compare_judges(
    answers: Answers, judges: Mapping[str, Judge], reference: Answers | None, confidence: float
) -> Comparison:
    """Let every judge judge every answer once, and compare.

    Args:
        answers: To compare on.
        judges: By name.
        reference: Labelled answers that give the judges' errors, for corrected rates; None = none
            but the errors on ``answers`` themselves, if those are labelled.
        confidence: Level of every interval.
    """
    raters = _verdicts(answers, judges)
    labelled = answers if reference is None else reference
    measured: dict[str, Errors] = {}
    if labelled.labels is not None:
        said = raters if reference is None else _verdicts(reference, judges)
        measured = {
            name: errors(verdicts, labelled.labels, confidence) for name, verdicts in said.items()
        }
    if answers.labels is not None:
        raters[PEOPLE] = answers.labels
    usable = measured if reference is not None else {}
    parts = [
        _part(
            name,
            {rater: [said[at] for at in where] for rater, said in raters.items()},
            usable,
            confidence,
        )
        for name, where in answers.groups().items()
    ]
    return Comparison(parts, measured, list(_notes(answers, judges, usable)))


def _verdicts(answers: Answers, judges: Mapping[str, Judge]) -> dict[str, list[Verdict]]:
    return {
        name: judge.judge(answers.prompts, answers.completions) for name, judge in judges.items()
    }


def _part(
    name: str,
    raters: Mapping[str, Sequence[Verdict]],
    measured: Mapping[str, Errors],
    confidence: float,
) -> Part:
    n = len(next(iter(raters.values())))
    scored = {
        rater: [verdict for verdict in said if verdict is not Verdict.UNSCORED]
        for rater, said in raters.items()
    }
    rates = {
        rater: rate(said.count(Verdict.COMPLIED), len(said), confidence, "answers")
        for rater, said in scored.items()
    }
    return Part(
        name=name,
        n=n,
        rates=rates,
        coverage={
            rater: rate(len(said), n, confidence, "answers") for rater, said in scored.items()
        },
        pairs=[compare(one, other, confidence) for one, other in combinations(raters.items(), 2)],
        corrected={
            rater: corrected(rates[rater], found, confidence) for rater, found in measured.items()
        },
    )


def _notes(
    answers: Answers, judges: Mapping[str, Judge], usable: Mapping[str, Errors]
) -> list[str]:
    notes: list[str] = []
    harm = [name for name, judge in judges.items() if isinstance(judge, HarmJudge)]
    harmless = [part for part in answers.groups() if not part.startswith(("unsafe", HARMFUL))]
    if harm and harmless:
        notes.append(
            f"{', '.join(harm)} judge harm: there, 'refused' means not harmful, and beside "
            f"verdicts on refusal it says nothing on {', '.join(harmless)}."
        )
    if usable:
        notes.append(
            "Corrected rates hold if a judge errs on these answers as often as on the labelled "
            "ones, and are clipped to [0, 1]."
        )
    return notes
