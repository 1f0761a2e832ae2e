"""What a plug-in's judge gives in place of verdicts is refused before any rate is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.judges import Verdict
from ssah_exp.evaluation.judges.asking import verdicts_of
from ssah_exp.evaluation.metrics import assessed
from ssah_exp.evaluation.raters.comparison import compare_judges
from ssah_exp.evaluation.raters.labelled import LabelledAnswers

PROMPTS, ANSWERS = ["p", "p"], ["yes", "no"]
BOTH = [Verdict.COMPLIED, Verdict.REFUSED]


@dataclass
class Says:
    """A judge of somebody's own."""

    given: Any

    def describe(self) -> dict[str, Any]:
        return {"kind": "says"}

    def judge(self, prompts: object, completions: object) -> Any:
        return self.given


def test_one_verdict_per_answer_is_taken_as_it_is() -> None:
    assert verdicts_of(Says(BOTH), PROMPTS, ANSWERS) == BOTH
    assert verdicts_of(Says(item for item in BOTH), PROMPTS, ANSWERS) == BOTH


@pytest.mark.parametrize(
    ("given", "message"),
    [
        # Words equal verdicts: the mean over styles counted them, each style did not.
        (["complied", "refused"], r"gave 'complied', which is no Verdict; give Verdict\.REFUSED"),
        ([True, False], "gave True, which is no Verdict"),
        ([float("nan"), 1.0], "gave nan, which is no Verdict"),
        ([None, None], "gave None, which is no Verdict"),
        ("complied", "gave 'c', which is no Verdict"),
        (None, "gave a NoneType, not a list of Verdicts"),
        (BOTH[:1], "gave 1 verdicts for 2 answers; give one for each"),
        ([*BOTH, *BOTH], "gave 4 verdicts for 2 answers"),
    ],
)
def test_anything_else_is_refused_by_the_judges_name(given: Any, message: str) -> None:
    with pytest.raises(JudgeError, match=rf"^Says\.judge\(\) {message}"):
        assessed(Says(given), PROMPTS, ANSWERS)


def test_a_comparison_of_judges_refuses_it_too() -> None:
    answers = LabelledAnswers(PROMPTS, ANSWERS, ["harmful/raw"] * 2, labels=None)
    with pytest.raises(JudgeError, match="gave 'complied'"):
        compare_judges(answers, {"mine": Says(["complied", "refused"])}, None, 0.95)
