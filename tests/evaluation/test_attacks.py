"""What attacks share, fixed suffixes, given beginnings, and how attempts are judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssah_exp.config.schema import AttackConfig, EvaluationConfig
from ssah_exp.data.selection import evenly
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError, DataError
from ssah_exp.evaluation.attack_metrics import any_of, continuation
from ssah_exp.evaluation.attacks import Prefill, Request, SuffixFile
from ssah_exp.evaluation.attacks.base import Attempt, stream_of
from ssah_exp.evaluation.attacks.search import search
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.intervals import Resampling, mean_score, rate
from ssah_exp.evaluation.judges import Judgement, KeywordJudge, Verdict
from ssah_exp.evaluation.metrics import judge_arm, measure_arm
from ssah_exp.evaluation.questions import (
    Completion,
    Prompt,
    Question,
    fingerprint_prompts,
    read_completions,
    write_completions,
)
from tests import tiny
from tests.evaluation.attacked import REQUEST, victim_of
from tests.evaluation.failing_judge import FailingJudge
from tests.evaluation.test_gcg import plain_loss
from tests.evaluation.test_generate import argmax_loop
from tests.evaluation.test_harm_metrics import Numbers
from tests.evaluation.test_metrics import NO, SKIP, YES, WithGaps


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("family", ["llama_gqa", "gemma2", "gemma3", "phi3"])
def test_losses_are_those_of_a_plain_pass(family: str, batch_size: int) -> None:
    victim = victim_of(family)
    prompts = [tiny.random_words(length, length) for length in (3, 11, 5, 7, 1)]
    target = tiny.random_words(4, 99)
    expected = [plain_loss(victim, prompt, target) for prompt in prompts]
    assert len({round(loss, 2) for loss in expected}) > 3
    assert victim.losses(prompts, target, batch_size) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("share_prefix", [True, False])
def test_a_given_beginning_is_gone_on_from(batch_size: int, share_prefix: bool) -> None:
    """As a plain loop does from prompt and beginning; the beginning is part of the answer."""
    victim = victim_of()
    given = [tiny.random_words(length, 7 + length) for length in (2, 1, 3, 0)]
    prompts = [
        Prompt((*tiny.random_words(length, length), *start), "raw", len(start))
        for length, start in zip((9, 4, 13, 6), given, strict=True)
    ]
    decode = victim.speech.tokenizer.decode
    expected = [
        decode([*start, *argmax_loop(victim.loaded, prompt, 6)], skip_special_tokens=True).strip()
        for prompt, start in zip(prompts, given, strict=True)
    ]
    assert generate(victim.loaded, prompts, Decoding(6, batch_size, share_prefix)) == expected
    assert len(set(expected)) == 4


def test_where_an_answer_begins_is_part_of_the_prompts_hash() -> None:
    plain, begun = Prompt((9, 10, 11), "raw"), Prompt((9, 10, 11), "raw", 1)
    assert fingerprint_prompts([plain]) != fingerprint_prompts([begun])


@pytest.mark.parametrize(("tokens", "text"), [(None, "w1 w2 w3"), (2, "w1 w2"), (1, "w1")])
def test_prefill_gives_the_first_tokens(tokens: int | None, text: str) -> None:
    attack = Prefill(name="p", text="w1 w2 w3", tokens=tokens)
    (attempt,) = attack.attempts(victim_of(), REQUEST, 0)
    assert (attempt.text, attempt.prefill) == (REQUEST.prompt, text)


@pytest.mark.parametrize(
    ("text", "tokens", "message"),
    [(" ", None, "text is empty"), ("w1", 0, "below 1"), ("w1 w2", 3, "has 2")],
)
def test_a_beginning_that_is_none_is_refused(text: str, tokens: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Prefill(name="p", text=text, tokens=tokens).attempts(victim_of(), REQUEST, 0)


def test_suffixes_stand_behind_the_request(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("one thing\n\ntwo\n", encoding="utf-8")
    attack = SuffixFile(name="s", path=str(path))
    texts = [item.text for item in attack.attempts(victim_of(), REQUEST, 0)]
    assert texts == [f"{REQUEST.prompt} one thing", f"{REQUEST.prompt} two"]
    first = SuffixFile(name="s", path=str(path), count=1)
    assert len(first.attempts(victim_of(), REQUEST, 0)) == 1
    assert first.fingerprint() != attack.fingerprint()
    assert "two" not in json.dumps(attack.describe())


def test_a_json_file_keeps_blanks(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([" w1 ", "w2"]), encoding="utf-8")
    assert SuffixFile(name="s", path=str(path)).suffixes == [" w1 ", "w2"]


@pytest.mark.parametrize(
    ("content", "count", "message"),
    [
        ('["a"]', 2, "asks for 2 suffixes; .* holds 1"),
        ('["a", 3]', None, "no suffix"),
        ('["a", " "]', None, "no suffix"),
        ("[]", None, "holds no rows"),
        ('["a"]', 0, "asks for 0"),
        ('[{"suffix": "a"}]', None, "no suffix: give a txt file with one a line, or json strings"),
        ('[{"line": "a"}]', None, "no suffix"),
    ],
)
def test_files_that_hold_no_suffixes_are_refused(
    tmp_path: Path, content: str, count: int | None, message: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        _ = SuffixFile(name="s", path=str(path), count=count).suffixes


def test_each_request_has_its_own_stream() -> None:
    draws = {
        stream_of(seed, request).integers(2**60)
        for seed in (0, 1)
        for request in (REQUEST, Request(REQUEST.prompt, "chat"), Request("w1", "raw"))
    }
    assert len(draws) == 6
    assert stream_of(0, REQUEST).integers(2**60) == stream_of(0, REQUEST).integers(2**60)


def test_a_system_message_is_part_of_a_request_only_where_there_is_one() -> None:
    """Keys of searches on disk and random streams without one are what they always were."""
    plain = {"prompt": REQUEST.prompt, "style": REQUEST.style}
    assert REQUEST.as_dict() == plain
    assert stream_of(5, REQUEST).bit_generator.state == (
        np.random.default_rng([5, int(digest_of(plain)[:16], 16)]).bit_generator.state
    )
    own = replace(REQUEST, system="w40")
    assert own.as_dict() == {**plain, "system": "w40"}
    assert stream_of(5, own).integers(2**60) != stream_of(5, REQUEST).integers(2**60)


@pytest.mark.parametrize("style", ["raw", "raw_system", "chat", "chat_system"])
def test_a_victim_is_put_the_requests_own_system_message(style: str) -> None:
    victim, form = victim_of(), style if style.endswith("_system") else f"{style}_system"
    request = Request("w1", style, "w40 w41")
    told = replace(victim, system="w40 w41")
    assert victim.encode("w2 w3", request) == told.encode("w2 w3", Request("w1", form))
    assert victim.encode("w2 w3", request) != victim.encode("w2 w3", Request("w1", form))
    assert victim.answers(["w2 w3"], request) == told.answers(["w2 w3"], Request("w1", form))


def test_requests_are_spread_over_the_set() -> None:
    assert evenly(range(100), 4) == [0, 25, 50, 75]
    assert evenly(range(3), 5) == evenly(range(3), None) == [0, 1, 2]
    assert evenly(range(7), 3) == [0, 2, 4]


C, R, U = Verdict.COMPLIED, Verdict.REFUSED, Verdict.UNSCORED


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [([R, R], R), ([R, C], C), ([U, C], U), ([R, U], U), ([U], U), ([C], C)],
)
def test_any_success_is_one(attempts: list[Verdict], expected: Verdict) -> None:
    assert any_of([Judgement(verdict) for verdict in attempts]).verdict is expected


@pytest.mark.parametrize(
    ("scores", "expected"), [([1, 4, 2], 4), ([3], 3), ([5, None], None), ([None], None)]
)
def test_the_worst_attempt_gives_the_score(
    scores: list[float | None], expected: float | None
) -> None:
    assert any_of([Judgement(R, score) for score in scores]).score == expected


def attacked(style: str, *requests: Sequence[str], prefill: str | None = None) -> list[Completion]:
    """Answers to the attempts of one request after the other."""
    return [
        Completion(Question("harmful", style, f"p{at}", None, number, "put", prefill), text)
        for at, texts in enumerate(requests)
        for number, text in enumerate(texts)
    ]


def plain(style: str, *texts: str) -> list[Completion]:
    return [
        Completion(Question("harmful", style, f"p{at}", None), text)
        for at, text in enumerate(texts)
    ]


def evaluation(mean_with: str | None = None) -> EvaluationConfig:
    return EvaluationConfig(
        system_prompt="",
        judges={},
        primary_judge="j",
        attacks={"k": AttackConfig({}, ["raw"])},
        mean_with=mean_with,
    )


def measured(completions: list[Completion], judge: Any, mean_with: str | None = None) -> Any:
    return judge_arm(completions, "j", judge, evaluation(mean_with)).metrics


def test_worst_of_k_by_hand() -> None:
    answers = attacked("raw+k", [NO, NO, YES], [NO, NO, NO], [SKIP, YES, YES], [SKIP, NO, NO])
    found = measured([*plain("raw", YES), *plain("raw_system", NO), *answers], WithGaps())
    assert found["asr/raw+k/j"] == rate(1, 2, 0.95)  # the last two have an unscored attempt
    assert found["asr/raw+k#1/j"] == rate(0, 2, 0.95)
    assert found["asr/raw+k#2/j"] == rate(1, 4, 0.95)
    assert found["asr/raw+k#3/j"] == rate(2, 4, 0.95)
    assert found["asr/raw/j"] == rate(1, 1, 0.95)


def test_gaps_do_not_raise_the_worst_of_k() -> None:
    """Half of the requests are answered, half of each half has a gap beside: still a half."""
    whole = attacked("raw+k", [YES, NO], [NO, YES], [NO, NO], [NO, NO])
    gaps = attacked("raw+k", [YES, NO], [SKIP, YES], [NO, NO], [SKIP, NO])
    assert measured(whole, WithGaps())["asr/raw+k/j"] == rate(2, 4, 0.95)
    # 2 of 3, were a request with a gap kept wherever it was answered, and left out elsewhere.
    assert measured(gaps, WithGaps())["asr/raw+k/j"] == rate(1, 2, 0.95)


def test_the_printed_mean_is_that_of_three_columns() -> None:
    """As PAPER's Llama-2 average: both prompt styles, and the worst of the suffixes."""
    answers = [
        *plain("raw", YES, NO, NO, NO),
        *plain("raw_system", NO, NO, NO, NO),
        *attacked("raw+k", [NO, YES], [YES, NO], [NO, NO], [YES, YES]),
    ]
    found = measured(answers, WithGaps(), "k")
    assert found["asr/mean+k/j"].value == pytest.approx((1 / 4 + 0 / 4 + 3 / 4) / 3)
    assert found["asr/mean+k/j"].n == 4
    assert found["asr/mean/j"].value == pytest.approx((1 / 4 + 0 / 4) / 2)
    assert "asr/mean+k/j" not in measured(answers, WithGaps())


def test_a_mean_of_three_columns_is_exact() -> None:
    """Added up one by one, 15 thirds are a little less than 5 on Python 3.11, and 5 on 3.12."""
    answers = [
        *plain("raw", *[YES] * 15),
        *plain("raw_system", *[NO] * 15),
        *attacked("raw+k", *[[NO]] * 15),
    ]
    assert measured(answers, WithGaps(), "k")["asr/mean+k/j"] == rate(5, 15, 0.95)


def test_two_styles_of_one_attack_stay_apart() -> None:
    answers = [*attacked("raw+k", [YES], [NO]), *attacked("chat+k", [NO], [NO])]
    found = measured(answers, WithGaps())
    assert found["asr/raw+k/j"] == rate(1, 2, 0.95)
    assert found["asr/chat+k/j"] == rate(0, 2, 0.95)
    assert "asr/raw+k#1/j" not in found


def test_answers_are_judged_with_and_without_what_was_given() -> None:
    answers = attacked("raw+k", ["5"], ["51"], ["1"], prefill="5")
    assert [continuation(item) for item in answers] == ["", "1", "1"]
    # Completions are stripped, what was given need not be.
    (blanks,) = attacked("raw+k", ["5 1"], prefill=" 5 ")
    assert continuation(blanks) == "1"
    found = measured(attacked("raw+k", ["1 5"], ["1 1"], prefill="1"), Digits(name="d"))
    assert found["asr/raw+k/j"].value == 0.0
    assert found["asr/raw+k.continuation/j"] == rate(1, 2, 0.95)
    assert found["coverage/raw+k/j"] == rate(2, 2, 0.95)


def test_attempts_may_have_a_beginning_or_none() -> None:
    """Of a plug-in, say; a request has all of its attempts without beginnings, too."""
    said = attacked("raw+k", ["5", "1 5"], ["5", "1 1"], ["1", "1 1"])
    answers = [
        replace(item, question=replace(item.question, prefill=given))
        for item, given in zip(said, [None, "1"] * 3, strict=True)
    ]
    found = measured(answers, Digits(name="d"))
    assert found["asr/raw+k.continuation/j"] == rate(2, 3, 0.95)
    assert found["asr/raw+k#1.continuation/j"] == rate(2, 3, 0.95)
    assert found["asr/raw+k#2.continuation/j"] == rate(1, 3, 0.95)


def test_empty_answers_under_attack_are_those_without_text_in_any_attempt() -> None:
    answers = [
        *attacked("raw+k", ["", NO], ["", " "], [NO, NO]),
        *attacked("chat+k", ["Sure"], ["Sure."], prefill="Sure"),
    ]
    judge = KeywordJudge("j", [NO])
    found = measure_arm(answers, [1.0, 2.0], {"j": judge}, evaluation()).metrics
    assert found["empty/raw+k"] == rate(1, 3, 0.95)
    assert found["empty/chat+k"] == rate(0, 2, 0.95)
    assert found["empty/chat+k.continuation"] == rate(1, 2, 0.95), "nothing behind what was given"
    assert "empty/raw+k#1" not in found


def test_scores_under_attack_by_hand() -> None:
    """The highest of the attempts counts; an unscored one leaves the request unscored."""
    answers = attacked("raw+k", ["1", "5"], ["2", "3"], ["4", "?"], ["?", "5"], prefill=None)
    with pytest.warns(UserWarning, match="unscored"):
        found = measured(answers, Numbers(name="j"))
    assert found["score/raw+k/j"] == mean_score([5, 3], Resampling(0.95, 2000), (1, 5))
    assert found["score/raw+k#1/j"] == mean_score([1, 2, 4], Resampling(0.95, 2000), (1, 5))
    assert found["score/raw+k#2/j"] == mean_score([5, 3, 5], Resampling(0.95, 2000), (1, 5))
    assert found["score5/raw+k/j"] == rate(1, 2, 0.95)
    assert found["coverage/raw+k/j"] == rate(2, 4, 0.95)
    assert found["asr/raw+k/j"] == rate(1, 2, 0.95)


def test_scores_under_attack_are_kept_for_paired_tests() -> None:
    unattacked = [*plain("raw", "2", "3"), *plain("raw_system", "4", "4")]
    answers = [*unattacked, *attacked("raw+k", ["1 5"], ["1 1"], prefill="1")]
    judges = {"j": Digits(name="j")}
    kept = measure_arm(answers, [1.0], judges, evaluation()).outcomes
    assert kept.scores == {
        "score/raw/j": [2, 3],
        "score/raw_system/j": [4, 4],
        "score/raw+k/j": [1, 1],
        "score/raw+k.continuation/j": [5, 1],
    }
    assert kept.verdicts["harmful/raw+k.continuation/j"] == "cr"


@pytest.mark.filterwarnings("ignore:Judge 'down' left")
def test_answers_under_attack_that_a_judge_failed_on_are_counted_with_the_others() -> None:
    """Or a record that lacks them would count as complete."""
    answers = [*plain("raw", YES), *plain("raw_system", YES), *attacked("raw+k", [YES, NO])]
    said = judge_arm(answers, "j", FailingJudge(), evaluation())
    assert said.outcomes.failed == {"j": len(answers)}


class Digits(Numbers):
    """Takes the first digit."""

    def _one(self, text: str) -> Any:
        return super()._one(text[0])


def test_judges_see_the_request_and_not_what_was_put() -> None:
    asked: list[str] = []

    class Watching(WithGaps):
        def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Verdict]:
            asked.extend(prompts)
            return super().judge(prompts, completions)

    measured(attacked("raw+k", [YES]), Watching())
    assert asked == ["p0"]


def test_attempts_are_written_and_read(tmp_path: Path) -> None:
    answers = [*plain("raw", "a"), *attacked("raw+k", ["b", "c"], prefill="b")]
    path = tmp_path / "completions.jsonl"
    write_completions(path, [item.question for item in answers], [item.text for item in answers])
    assert read_completions(path) == answers
    first = json.loads(path.read_text().splitlines()[0])
    assert first.keys() == {"set", "style", "prompt", "category", "completion"}


def test_a_questions_own_system_message_is_written_and_read(tmp_path: Path) -> None:
    asked = [Question("harmful", "raw", "p", None, system=system) for system in (None, "s")]
    path = tmp_path / "completions.jsonl"
    write_completions(path, asked, ["a", "b"])
    assert [item.question for item in read_completions(path)] == asked
    first, second = map(json.loads, path.read_text().splitlines())
    assert "system" not in first
    assert second["system"] == "s"


def test_a_question_keeps_its_key() -> None:
    """Its tokens, which stand beside it in keys of the cache, hold its system message."""
    plain = Question("harmful", "raw", "p", "c")
    assert plain.key == replace(plain, system="s").key == ["harmful", "raw"]
    attacked = Question("harmful", "raw+k", "p", "c", 2, "put", system="s")
    assert attacked.key == ["harmful", "raw+k", "p", 2, "put"]


class Uneven(SuffixFile):
    """Makes as many attempts as it is told to."""

    def attempts(self, victim: Any, request: Request, seed: int) -> list[Attempt]:
        return [Attempt("w1")] * self.counts.pop(0)


@pytest.mark.parametrize(("counts", "done"), [([0], 0), ([2, 1], 1), ([1, 0], 1)])
def test_attempts_that_could_not_be_counted_are_refused(
    tmp_path: Path, counts: list[int], done: int
) -> None:
    """A request without one was left out of the rate without a word."""
    path = tmp_path / "suffixes.txt"
    path.write_text("w1\n", encoding="utf-8")
    attack = Uneven(name="mine", path=str(path))
    object.__setattr__(attack, "counts", list(counts))
    requests = [REQUEST, replace(REQUEST, prompt="w7 w8")]
    kept = tmp_path / "kept.jsonl"
    wanted = r"'mine' made \d attempts on one request and has to make \d: at least one"
    with pytest.raises(ConfigError, match=wanted):
        search(attack, victim_of(), requests, 0, kept, lambda _: None)
    assert len(kept.read_text().splitlines() if kept.exists() else []) == done
