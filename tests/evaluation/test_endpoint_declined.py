"""The endpoint judge against a server that declines questions: its filter, its key, its limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.judges import Judgement
from tests.evaluation.endpoint_judge import (
    COMPLIED,
    REFUSED,
    UNSCORED,
    assess,
    failed,
    judge_at,
)
from tests.evaluation.misbehaving import Act, Endpoint, refuses, says, status


def test_one_question_the_endpoint_does_not_take(server: Endpoint) -> None:
    server.script["a"] = [status(400)]
    found = assess(judge_at(server), "a", "b")
    assert found == [Judgement(UNSCORED, reason="http 400"), Judgement(REFUSED, 1.0)]
    assert server.asked["a"] == 1


def test_a_refusal_that_cannot_be_read_names_no_filter(server: Endpoint) -> None:
    server.script["a"] = [status(400, b"[" * 100_000)]
    assert assess(judge_at(server), "a", "b")[0] == Judgement(UNSCORED, reason="http 400")


FILTERS = (
    refuses(400, code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
    refuses(400, code=None, type="content_policy_violation"),
    refuses(422, innererror={"code": "ResponsibleAIPolicyViolation"}),
    refuses(403, code=403, metadata={"reasons": ["violence"], "flagged_input": "..."}),
)


@pytest.mark.parametrize("act", FILTERS)
def test_what_a_filter_stops_ends_no_run_and_is_not_asked_again(
    server: Endpoint, tmp_path: Path, act: Act
) -> None:
    """Not even where the endpoint has answered nothing yet."""
    server.otherwise = act
    answers = list(map(str, range(25)))
    for _ in range(2):
        found = assess(judge_at(server, tmp_path), *answers)
        assert {item.verdict for item in found} == {UNSCORED}
        assert all("content filter" in item.reason and not item.failed for item in found)
    assert server.asked == dict.fromkeys(answers, 1)


def test_single_403s_of_an_endpoint_that_answers_are_asked_again(
    server: Endpoint, tmp_path: Path
) -> None:
    """They may be its filter's or the key's, and it does not say which."""
    server.script["a"] = [status(403), status(403), says('{"score": 5}')]
    for times in (1, 2):
        found = assess(judge_at(server, tmp_path, max_failures=2, concurrency=1), "b", "a", "c")
        assert found[1] == failed("http 403")
        assert server.asked == {"a": times, "b": 1, "c": 1}
    assert assess(judge_at(server, tmp_path), "a") == [Judgement(COMPLIED, 5.0)]


def test_a_key_that_is_revoked_halfway_ends_the_run(server: Endpoint, tmp_path: Path) -> None:
    judge = judge_at(server, tmp_path, concurrency=1, max_failures=3)
    assert assess(judge, "a") == [Judgement(REFUSED, 1.0)]
    server.otherwise = status(403)
    assert assess(judge, "b", "c") == [failed("http 403")] * 2, "though not enough to end it"
    server.script["d"] = [refuses(403, code="content_filter")]
    server.script["e"] = [status(400)]
    assess(judge, "d", "e")  # neither says that the key works
    with pytest.raises(JudgeError, match=r"3 questions in a row failed, .* http 403"):
        assess(judge, "f")
    server.otherwise = says('{"score": 5}')
    assert assess(judge_at(server, tmp_path), *"bcf") == [Judgement(COMPLIED, 5.0)] * 3


def test_what_a_filter_stopped_is_kept_though_the_run_ends(
    server: Endpoint, tmp_path: Path
) -> None:
    server.otherwise = status(403)
    server.script["a"] = [FILTERS[0]]
    with pytest.raises(JudgeError):
        assess(judge_at(server, tmp_path, concurrency=1, max_failures=2), "a", "b", "c")
    server.otherwise = says('{"score": 5}')
    assess(judge_at(server, tmp_path), "a", "b")
    assert server.asked["a"] == 1


def test_what_a_filter_stopped_does_not_show_that_others_are_answered(
    server: Endpoint, tmp_path: Path
) -> None:
    server.script["a"], server.otherwise = [FILTERS[0]], status(400)
    for _ in range(2):
        assert assess(judge_at(server, tmp_path), "a", "b")[1] == failed("http 400")
    assert server.asked == {"a": 1, "b": 2}


def test_other_declined_questions_end_no_run_and_are_asked_again(
    server: Endpoint, tmp_path: Path
) -> None:
    answers = list(map(str, range(25)))
    echo = refuses(400, code="too_long", message="content_filter flagged, says the answer")
    server.script = {answer: [echo] for answer in answers}
    assess(judge_at(server, tmp_path), "b")
    for times in (1, 2):
        found = assess(judge_at(server, tmp_path), *answers)
        assert found == [Judgement(UNSCORED, reason="http 400")] * 25
        assert server.asked["0"] == times, "what is kept shows that the endpoint answers others"


@pytest.mark.parametrize("code", [400, 403, 422])
def test_an_endpoint_that_declines_whatever_it_is_asked_ends_the_run(
    server: Endpoint, tmp_path: Path, code: int
) -> None:
    server.otherwise = status(code)
    judge = judge_at(server, tmp_path, concurrency=1, max_failures=3)
    assert assess(judge, "a", "b") == [failed(f"http {code}")] * 2
    with pytest.raises(JudgeError, match=f"3 questions in a row failed, .* http {code}"):
        assess(judge, "c")
    server.otherwise = says('{"score": 5}')
    assert assess(judge_at(server, tmp_path), "a") == [Judgement(COMPLIED, 5.0)]
