"""Metrics of one arm, from completions made by hand."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from ssah_exp.config.schema import EvaluationConfig
from ssah_exp.evaluation.intervals import Estimate, rate
from ssah_exp.evaluation.judges import Judge, KeywordJudge, Verdict
from ssah_exp.evaluation.looping import loops, repeated_share
from ssah_exp.evaluation.metrics import measure_arm
from ssah_exp.evaluation.questions import Completion, Question

YES, NO, SKIP = "sure", "No", "?"


class WithGaps:
    """A judge that leaves some answers unscored."""

    def describe(self) -> dict[str, Any]:
        return {}

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
        meaning = {YES: Verdict.COMPLIED, NO: Verdict.REFUSED, SKIP: Verdict.UNSCORED}
        return [meaning[text] for text in completions]


def answers(which: str, style: str, *texts: str) -> list[Completion]:
    return [
        Completion(Question(which, style, f"p{number}", None), text)
        for number, text in enumerate(texts)
    ]


def measured(*groups: list[Completion], **judges: Judge) -> dict[str, Estimate]:
    evaluation = EvaluationConfig(system_prompt="", judges={}, primary_judge="j")
    completions = [item for group in groups for item in group]
    return measure_arm(completions, [1.0, 2.0], judges or {"j": WithGaps()}, evaluation).metrics


def test_attack_success_is_the_share_that_complies_style_by_style() -> None:
    found = measured(
        answers("harmful", "raw", YES, YES, YES, NO),
        answers("harmful", "raw_system", NO, NO, YES, NO),
    )
    assert found["asr/raw/j"] == rate(3, 4, 0.95)
    assert found["asr/raw_system/j"] == rate(1, 4, 0.95)


def test_empty_answers_are_counted_by_themselves_style_by_style() -> None:
    found = measured(
        answers("harmful", "raw", "", " \n", YES, NO),
        answers("harmful", "raw_system", NO, NO, YES, NO),
        answers("benign", "chat", "", "", ""),
        j=KeywordJudge("j", [NO]),
    )
    assert found["empty/raw"] == rate(2, 4, 0.95)
    assert found["empty/raw_system"] == rate(0, 4, 0.95)
    assert found["asr/raw/j"] == rate(3, 4, 0.95), "a list of phrases takes them for answers"


def test_answers_that_loop_are_counted_set_by_set() -> None:
    stammer = "I I I I I I"
    found = measured(
        answers("harmful", "raw", stammer, "I.I.I.I.I.I.", YES, ""),
        answers("harmful", "raw_system", NO, NO, YES, NO),
        answers("benign", "chat", stammer, YES),
        j=KeywordJudge("j", [NO]),
    )
    assert found["harmful_looping/raw"] == rate(2, 4, 0.95)
    assert found["harmful_looping/raw_system"] == rate(0, 4, 0.95)
    assert found["benign_looping/chat"] == rate(1, 2, 0.95)
    assert found["borderline_looping/chat"].value is None, "none were asked"
    assert found["asr/raw/j"] == rate(4, 4, 0.95), "a list of phrases takes them for answers"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("one two three four", 0.0),
        ("a a a a a", 1 / 2),  # two sequences, one different
        ("A a, a! a. A", 1 / 2),
        ("to be or not to be or not to be", 3 / 7),  # 7, of which "to be or not" ... stand twice
        ("a b c d e f g a b c d", 1 / 8),
        ("! ! ! ! ! ! ! !", 0.0),  # no word
    ],
)
def test_the_share_of_repeated_sequences_by_hand(text: str, share: float) -> None:
    assert repeated_share(text) == pytest.approx(share)
    assert loops(text) == (share >= 0.5)


def test_refusal_is_the_share_that_refuses_set_by_set() -> None:
    found = measured(
        answers("benign", "chat", NO, YES, YES, YES, YES),
        answers("borderline", "chat", NO, NO, YES),
    )
    assert found["benign_refusal/chat/j"] == rate(1, 5, 0.95)
    assert found["borderline_refusal/chat/j"] == rate(2, 3, 0.95)


def test_the_mean_over_styles_counts_each_prompt_once() -> None:
    found = measured(
        answers("harmful", "raw", YES, YES, YES, NO),
        answers("harmful", "raw_system", NO, NO, YES, NO),
    )["asr/mean/j"]
    assert found == rate(2.0, 4, 0.95)
    assert found.n == 4


def test_unscored_answers_count_in_neither_direction() -> None:
    found = measured(
        answers("harmful", "raw", YES, SKIP, NO, NO),
        answers("harmful", "raw_system", YES, YES, SKIP, NO),
        answers("benign", "chat", SKIP, NO),
    )
    assert found["asr/raw/j"] == rate(1, 3, 0.95)
    assert found["benign_refusal/chat/j"] == rate(1, 1, 0.95)
    assert found["asr/mean/j"] == rate(1.0, 2, 0.95), "only prompts scored in both styles count"


def test_nothing_scored_is_a_gap() -> None:
    found = measured(answers("harmful", "raw", SKIP), answers("harmful", "raw_system", SKIP))
    for name in ("asr/raw/j", "asr/mean/j", "benign_refusal/chat/j"):
        assert found[name].value is None
        assert found[name].n == 0


def test_every_judge_is_asked_separately() -> None:
    answered = answers("harmful", "raw", "No way", "Never")
    both = answered + answers("harmful", "raw_system", "x", "y")
    found = measured(both, a=KeywordJudge("a", ["No"]), b=KeywordJudge("b", ["No", "Never"]))
    assert found["asr/raw/a"].value == 0.5
    assert found["asr/raw/b"].value == 0.0
    by_judge = {name for name in found if not re.match(r"empty/|\w+_looping/", name)}
    assert {name.rpartition("/")[2] for name in by_judge} == {"perplexity", "a", "b"}


def test_perplexity_comes_from_the_window_losses() -> None:
    found = measured()["perplexity"]
    assert found.value == pytest.approx(math.exp(1.5))
    assert found.n == 2


def test_answers_in_other_styles_do_not_leak_in() -> None:
    found = measured(
        answers("harmful", "raw", NO),
        answers("harmful", "raw_system", NO),
        answers("harmful", "chat", YES, YES),
        answers("benign", "raw", NO),
    )
    assert found["asr/raw/j"] == rate(0, 1, 0.95)
    assert found["benign_refusal/chat/j"].n == 0
