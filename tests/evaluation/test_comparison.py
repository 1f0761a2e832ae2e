"""Judges beside people: what a judge of harm is measured on, and what that cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.judges import Judge, KeywordJudge, Verdict
from ssah_exp.evaluation.raters.comparison import Comparison, compare_judges
from ssah_exp.evaluation.raters.labelled import ALL, LabelledAnswers
from tests.evaluation.test_harm_metrics import Numbers

REFUSED, COMPLIED = Verdict.REFUSED, Verdict.COMPLIED
# To Numbers, "5" is harmful; to the keyword judge, "1" is a refusal.
Row = tuple[str, str, Verdict | None]
XSTEST: list[Row] = [
    *[("unsafe", "1", REFUSED)] * 20,
    *[("safe", "3", COMPLIED)] * 10,
    *[("safe", "1", REFUSED)] * 15,
]
OWN: list[Row] = [
    *[("unsafe", "1", REFUSED)] * 9,
    *[("unsafe", "5", REFUSED)],
    *[("unsafe", "5", COMPLIED)] * 8,
    *[("unsafe", "2", COMPLIED)] * 2,
    *[("safe", "3", COMPLIED)] * 50,
]
RUN: list[Row] = [*[("harmful/raw", "5", None)] * 4, *[("benign/chat", "3", None)] * 6]


def answers(rows: Sequence[Row]) -> LabelledAnswers:
    labels = [label for *_, label in rows if label is not None]
    return LabelledAnswers(
        [f"p{at}" for at in range(len(rows))],
        [text for _, text, _ in rows],
        [part for part, *_ in rows],
        labels or None,
    )


def compared(rows: Sequence[Row], reference: Sequence[Row] | None) -> tuple[Comparison, Numbers]:
    harm = Numbers(name="harm")
    judges: dict[str, Judge] = {"harm": harm, "words": KeywordJudge("words", ["1"])}
    labelled = None if reference is None else answers(reference)
    return compare_judges(answers(rows), judges, labelled, 0.95), harm


def test_a_judge_of_harm_is_measured_on_answers_to_harmful_requests() -> None:
    found, harm = compared(RUN, OWN)
    errors = found.errors["harm"]
    assert (errors.sensitivity.value, errors.sensitivity.n) == (0.8, 10)
    assert (errors.specificity.value, errors.specificity.n) == (0.9, 10)
    assert found.errors["words"].sensitivity.n == 60
    assert harm.asked == len(RUN) + 20, "the rest could show nothing, and costs"
    parts = {part.name: part.corrected for part in found.parts}
    # (1 + .9 - 1) / (.8 + .9 - 1), clipped.
    assert parts["harmful/raw"]["harm"].value == 1
    assert list(parts["benign/chat"]) == ["words"], "its errors hold for harmful requests alone"


def test_labels_without_compliance_with_harm_correct_no_rate() -> None:
    found, _ = compared(RUN, XSTEST)
    errors = found.errors["harm"]
    assert (errors.sensitivity.value, errors.sensitivity.n) == (None, 0)
    assert (errors.specificity.value, errors.specificity.n) == (1.0, 20)
    (part,) = (part for part in found.parts if part.name == "harmful/raw")
    assert part.corrected["harm"].value is None
    assert part.corrected["words"].value is not None
    notes = " ".join(found.notes)
    assert (
        "Errors of harm: on 20 of 45 labelled answers, those to harmful requests (unsafe)" in notes
    )
    assert "Errors of words: on all 45 labelled answers" in notes
    assert "scored by harm, there is no compliance" in notes


def test_answers_without_a_label_yet_are_not_counted_as_labelled() -> None:
    unread: list[Row] = [*[("unsafe", "5", Verdict.UNSCORED)] * 7, ("safe", "3", Verdict.UNSCORED)]
    found, harm = compared(RUN, [*OWN, *unread])
    assert harm.asked == len(RUN) + 20, "of the others nobody knows what is right"
    notes = " ".join(found.notes)
    assert "Errors of words: on all 70 labelled answers" in notes
    assert "Errors of harm: on 20 of 70 labelled answers" in notes
    assert found.errors == compared(RUN, OWN)[0].errors


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([row for row in XSTEST if row[0] == "safe"], "harmful requests (none)"),
        ([(ALL, text, label) for _, text, label in OWN], "all, taken for answers to harmful"),
    ],
)
def test_the_notes_say_what_the_reference_is(rows: list[Row], note: str) -> None:
    found, _ = compared(RUN, rows)
    assert note in " ".join(found.notes)


def test_labelled_answers_are_their_own_reference() -> None:
    found, harm = compared(OWN, None)
    assert harm.asked == len(OWN)
    assert found.errors["harm"].sensitivity.value == 0.8
    assert not any(part.corrected for part in found.parts)
    assert any("on 20 of 70" in note for note in found.notes)
    unlabelled, _ = compared(RUN, None)
    assert (unlabelled.errors, len(unlabelled.notes)) == ({}, 1)


def test_answers_in_no_parts_are_counted_once() -> None:
    found, _ = compared([(ALL, "1", REFUSED), (ALL, "5", COMPLIED)], None)
    (part,) = found.parts
    assert (part.name, part.rates["words"].n) == (ALL, 2)


def test_no_judge_has_the_labels_name() -> None:
    """Its verdicts would be those of the labels, and agree with them."""
    judges: dict[str, Judge] = {"people": KeywordJudge("people", ["1"])}
    with pytest.raises(ConfigError, match="Judge 'people': that name is the labels' own"):
        compare_judges(answers([("all", "1", COMPLIED)]), judges, None, 0.95)
