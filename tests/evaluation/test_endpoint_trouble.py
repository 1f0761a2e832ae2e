"""The endpoint judge against a server that is slow, busy or down."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.chat_client import retry_after
from ssah_exp.evaluation.judges import Judgement
from tests.evaluation.endpoint_judge import (
    COMPLIED,
    KEY,
    REFUSED,
    assess,
    failed,
    judge_at,
    one,
)
from tests.evaluation.misbehaving import (
    Act,
    Endpoint,
    Handler,
    completion,
    cut,
    drip_headers,
    hang_up,
    raw,
    says,
    slow,
    status,
    trickle,
)

DEEP = b"[" * 100_000  # Python's parser gives up with a RecursionError
NO_COMPLETION = (
    *(b"", b"{oops", b"[]", b'{"choices": []}', b'{"choices": [{"message": "text"}]}'),
    DEEP,
)
NO_TEXT = tuple(
    completion(content) for content in (5, {"text": "1"}, ["1"], [{"type": "a"}], [{"text": "1"}])
)
PASSING = (
    *map(status, (408, 409, 425, 429, 500, 502, 503)),
    cut,
    hang_up,
    status(200, completion("1"), Content_Encoding="gzip"),
    *map(raw, (*NO_COMPLETION, *NO_TEXT)),
)


@pytest.mark.parametrize("trouble", PASSING)
def test_passing_trouble_is_tried_again(server: Endpoint, trouble: Act) -> None:
    assert one(server, trouble, trouble, says('{"score": 5}')) == Judgement(COMPLIED, 5.0)
    assert server.asked["a"] == 3


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (status(500), "http 500"),
        (cut, "connection: ReadError"),
        (status(200, b"no gzip", Content_Encoding="gzip"), "connection: DecodingError"),
        (raw(b"{oops"), "no chat completion in the reply"),
        (raw(b" " * (1 << 20) + completion('{"score": 5}')), "endless reply"),
    ],
)
def test_after_the_last_attempt_it_is_unscored(
    server: Endpoint, trouble: Act, reason: str, tmp_path: Path
) -> None:
    server.script["a"] = [trouble]
    judge = judge_at(server, tmp_path)
    assert assess(judge, "a") == [failed(reason)]
    assert server.asked["a"] == 3
    server.script["a"] = [says('{"score": 2}')]
    again = assess(judge_at(server, tmp_path), "a")
    assert again == [Judgement(REFUSED, 2.0)], "trouble is not remembered"


@pytest.mark.parametrize("act", [slow(2), trickle, drip_headers])
def test_a_slow_endpoint_meets_the_timeout(server: Endpoint, act: Act) -> None:
    started = time.monotonic()
    found = one(server, act, timeout=0.2, attempts=2)
    assert found == failed("timeout")
    assert time.monotonic() - started < 1.5
    assert server.asked["a"] == 2


def test_waits_are_drawn_from_twice_as_long_each_time(
    server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    monkeypatch.setattr("random.uniform", lowest)
    assert one(server, status(500), attempts=5, backoff=0.25, max_wait=0.75).failed
    assert drawn[:4] == [(0, 0.25), (0, 0.5), (0, 0.75), (0, 0.75)]


def test_retry_after_is_honoured(server: Endpoint) -> None:
    found = one(server, status(429, Retry_After="0.4"), says('{"score": 3}'))
    assert found.score == 3
    assert server.times[1] - server.times[0] >= 0.39


def test_retry_after_holds_for_every_thread(server: Endpoint) -> None:
    """All pause; how many were on their way by then is the machine's load's to decide."""
    answers = [f"answer {number}" for number in range(60)]
    for answer in answers:
        server.script[answer] = [says('{"score": 1}')]
    server.script[answers[0]].insert(0, status(429, Retry_After="0.4"))
    found = assess(judge_at(server, concurrency=2), *answers)
    assert [item.score for item in found] == [1.0] * 60
    pauses = [later - when for when, later in itertools.pairwise(sorted(server.times))]
    assert max(pauses) >= 0.39 - 0.1
    assert pauses.index(max(pauses)) < 50


def test_a_longer_wait_than_we_would_is_not_cut_short(server: Endpoint) -> None:
    found = one(server, status(429, Retry_After="3600"))
    assert found == failed("http 429")
    assert server.asked["a"] == 1, "neither waited for nor asked again too early"


def test_a_wait_nobody_waits_for_holds_no_other_question(server: Endpoint) -> None:
    server.script["a"] = [status(429, Retry_After="20")]
    began = time.monotonic()
    found = assess(judge_at(server, concurrency=1), "a", "b")
    assert found == [failed("http 429"), Judgement(REFUSED, 1.0)]
    assert time.monotonic() - began < 10


def test_a_shorter_wait_does_not_end_a_longer_one(server: Endpoint) -> None:
    both = threading.Barrier(2)

    def busy(handler: Handler) -> None:
        both.wait(30)
        status(429, Retry_After="1")(handler)

    def busy_later(handler: Handler) -> None:
        both.wait(30)
        time.sleep(0.3)
        status(429, Retry_After="0.1")(handler)

    server.script = {"a": [busy, says('{"score": 1}')], "b": [busy_later, says('{"score": 1}')]}
    found = assess(judge_at(server, concurrency=2, max_wait=2.0), "a", "b")
    assert [item.score for item in found] == [1.0, 1.0]
    assert server.times[2] - server.times[1] >= 0.9


def test_both_forms_of_retry_after() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 28 < retry_after(later) <= 30
    assert retry_after("2.5") == 2.5
    edge = "Fri, 31 Dec 9999 23:59:59 -2300"  # later than any date there is
    for nothing in (None, "soon", "-3", "nan", "Mon, 01 Jan 2001 00:00:00 GMT", edge):
        assert retry_after(nothing) == 0


def test_failures_in_a_row_are_counted_over_calls(server: Endpoint) -> None:
    server.otherwise = status(500)
    server.script["b"] = [says('{"score": 1}')]
    judge = judge_at(server, attempts=1, max_failures=2)
    assert assess(judge, "0") == [failed("http 500")]
    assess(judge, "b")
    assert assess(judge, "1") == [failed("http 500")]
    with pytest.raises(JudgeError, match="2 questions in a row failed"):
        assess(judge, "2")


@pytest.mark.parametrize("code", [401, 402, 404, 405, 302])
def test_an_endpoint_that_takes_no_question_ends_the_run(server: Endpoint, code: int) -> None:
    server.otherwise = status(code, f"no such thing {KEY}".encode(), Location="/elsewhere")
    judge = judge_at(server, concurrency=1, api_key_env="THE_API_KEY")
    with pytest.raises(JudgeError, match=rf"http {code}: no such thing \[key\]"):
        assess(judge, *"abcdefgh")
    assert len(server.seen) < 8


def test_no_piece_of_the_key_stands_in_an_error_that_is_cut(server: Endpoint) -> None:
    server.otherwise = status(401, f"{'n' * 195}{KEY}".encode())
    with pytest.raises(JudgeError, match=r"http 401: n{195}\[key\]$"):
        assess(judge_at(server, api_key_env="THE_API_KEY"), "a")


@pytest.mark.parametrize("trouble", [status(429, Retry_After="20"), status(500)])
def test_a_run_that_ends_does_not_wait_for_a_question_s_next_attempt(
    server: Endpoint, trouble: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    both = threading.Barrier(2)

    def busy(handler: Handler) -> None:
        both.wait(30)
        trouble(handler)

    def no_credit(handler: Handler) -> None:
        both.wait(30)
        time.sleep(0.3)  # the other thread has begun to wait
        status(402)(handler)

    server.script = {"a": [busy], "b": [no_credit]}
    judge = judge_at(server, concurrency=2, backoff=20.0, max_wait=30.0)
    began = time.monotonic()
    with pytest.raises(JudgeError, match="http 402"):
        assess(judge, "a", "b")
    assert time.monotonic() - began < 10
    assert server.asked == {"a": 1, "b": 1}


def test_an_endpoint_that_is_down_ends_the_run(server: Endpoint, tmp_path: Path) -> None:
    server.otherwise = status(500)
    server.script["0"] = [says('{"score": 5}')]
    judge = judge_at(server, tmp_path, concurrency=1, attempts=1, max_failures=3)
    with pytest.raises(JudgeError, match="3 questions in a row failed, the last with: http 500"):
        assess(judge, *map(str, range(50)))
    assert len(server.seen) < 10
    assert assess(judge_at(server, tmp_path), "0") == [Judgement(COMPLIED, 5.0)]
    assert server.asked["0"] == 1, "what was judged is kept"
