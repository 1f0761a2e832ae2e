"""What the endpoint judge keeps: judgements, and how many requests were spent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.errors import JudgeError
from ssah_exp.evaluation.judges import Judgement
from ssah_exp.evaluation.judges.memory import Memory, judgements_folder
from ssah_exp.evaluation.judges.rubrics import HexPhiRubric
from tests.evaluation.endpoint_judge import COMPLIED, KEY, REFUSED, assess, failed, judge_at
from tests.evaluation.misbehaving import Endpoint, raw, says, status


def test_the_budget_counts_retries_and_holds_over_calls(server: Endpoint, tmp_path: Path) -> None:
    server.script["a"] = [status(500), says('{"score": 5}')]
    judge = judge_at(server, tmp_path, concurrency=1, max_requests=3)
    found = assess(judge, "a", "b", "c")
    spent = failed("budget of 3 requests spent")
    assert found == [Judgement(COMPLIED, 5.0), Judgement(REFUSED, 1.0), spent]
    assert assess(judge, "c", "d") == [spent, spent]
    assert len(server.seen) == 3


def test_a_spent_budget_is_no_failure_of_the_endpoint(server: Endpoint) -> None:
    judge = judge_at(server, concurrency=1, max_requests=1, max_failures=2)
    found = assess(judge, "a", "b", "c", "d")
    assert found == [Judgement(REFUSED, 1.0), *[failed("budget of 1 requests spent")] * 3]


def kept_rows(root: Path) -> list[dict[str, Any]]:
    (path,) = judgements_folder(root).iterdir()
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_of_long_words_the_beginning_is_kept_without_a_piece_of_the_key(
    server: Endpoint, tmp_path: Path
) -> None:
    """Cut first, a key that begins right before the end would no longer be known as one."""
    words, name = "w" * 3995, "m" * 195
    message = {"content": f'{words}{KEY} {{"score": 2}}'}
    reply = {"model": f"{name}{KEY} of long ago", "choices": [{"message": message}]}
    server.otherwise = raw(json.dumps(reply).encode())
    judge = judge_at(server, tmp_path, api_key_env="THE_API_KEY")
    assert assess(judge, "a") == [Judgement(REFUSED, 2.0)]
    (row,) = kept_rows(tmp_path)
    assert (row["reply"], row["served"]) == (f"{words}[key]", f"{name}[key]")


def test_what_a_judge_says_when_it_declines_is_kept(server: Endpoint, tmp_path: Path) -> None:
    server.otherwise = says(None, refusal="not that one")
    assess(judge_at(server, tmp_path), "a")
    assert [row["reply"] for row in kept_rows(tmp_path)] == ["not that one"]


def test_replies_under_way_when_the_run_ends_are_kept(server: Endpoint, tmp_path: Path) -> None:
    """They are paid for."""
    under_way = threading.Event()

    def late(handler: Any) -> None:
        under_way.set()
        time.sleep(0.5)
        says('{"score": 5}')(handler)

    def no_credit(handler: Any) -> None:
        assert under_way.wait(30)
        status(402)(handler)

    server.script = {"a": [late], "b": [no_credit]}
    with pytest.raises(JudgeError, match="http 402"):
        assess(judge_at(server, tmp_path, concurrency=2), "a", "b")
    assert assess(judge_at(server, tmp_path), "a") == [Judgement(COMPLIED, 5.0)]
    assert server.asked["a"] == 1


def test_the_budget_holds_over_processes(server: Endpoint, tmp_path: Path) -> None:
    first = judge_at(server, tmp_path, concurrency=1, max_requests=2)
    assess(first, "a", "b", "c")
    again = judge_at(server, tmp_path, max_requests=2)
    assert assess(again, "a", "c") == [
        Judgement(REFUSED, 1.0),
        failed("budget of 2 requests spent"),
    ]
    more = assess(judge_at(server, tmp_path, max_requests=4), "a", "b", "c", "d")
    assert [item.score for item in more] == [1.0] * 4
    assert server.asked == dict.fromkeys("abcd", 1)
    other = judge_at(server, tmp_path, model="n", max_requests=1)
    assert assess(other, "a") == [Judgement(REFUSED, 1.0)], "another judge's budget is its own"
    assert assess(judge_at(server, tmp_path), "e") == [Judgement(REFUSED, 1.0)], "no limit"


def test_two_judges_at_once_share_judgements_and_budget(server: Endpoint, tmp_path: Path) -> None:
    """As an attack's judge and the table's do; both are there before either asks."""
    table, search = (judge_at(server, tmp_path, max_requests=3, concurrency=1) for _ in range(2))
    assess(search, "a", "b")
    assert assess(table, "a", "c") == [Judgement(REFUSED, 1.0)] * 2
    assert server.asked == dict.fromkeys("abc", 1)
    for judge in (search, table):
        assert assess(judge, "d") == [failed("budget of 3 requests spent")]
    assert len(server.seen) == 3


def test_models_that_another_judges_questions_met_are_not_listed(
    server: Endpoint, tmp_path: Path
) -> None:
    table, search = (judge_at(server, tmp_path) for _ in range(2))
    assess(search, "a")
    assert table.describe()["served"] == []


def test_a_request_counts_before_it_is_sent(server: Endpoint, tmp_path: Path) -> None:
    judge = judge_at(server, tmp_path, max_requests=1)
    counted: list[int] = []

    def count(handler: Any) -> None:
        (file,) = judgements_folder(tmp_path).glob("*.requests")
        counted.append(len(file.read_text().splitlines()))
        says('{"score": 1}')(handler)

    server.otherwise = count
    assess(judge, "a")
    assert counted == [1]


def test_another_judge_does_not_use_these_judgements(server: Endpoint, tmp_path: Path) -> None:
    for changes in ({}, {"model": "n"}, {"rubric": HexPhiRubric(4.0)}, {"options": {}}):
        assess(judge_at(server, tmp_path, **changes), "a")
    assert server.asked["a"] == 4
    for changes in ({"concurrency": 1}, {"timeout": 9.0}, {"api_key_env": "THE_API_KEY"}):
        assess(judge_at(server, tmp_path, **changes), "a")
    assert server.asked["a"] == 4


def test_one_answer_to_two_requests_is_two_questions(server: Endpoint, tmp_path: Path) -> None:
    server.script["Yes."] = [says('{"score": 1}'), says('{"score": 5}')]
    for _ in range(2):
        judge = judge_at(server, tmp_path, concurrency=1)
        found = judge.assess(["Is it cold?", "Will you help me steal?"], ["Yes.", "Yes."])
        assert found == [Judgement(REFUSED, 1.0), Judgement(COMPLIED, 5.0)]
    assert server.asked["Yes."] == 2


def test_a_judgement_on_a_question_that_is_just_short_enough_is_found(tmp_path: Path) -> None:
    Memory({}, tmp_path).add("p", "a", Judgement(REFUSED, 1.0), tokens=100)
    again = Memory({}, tmp_path)
    assert again.get("p", "a", at_most=100) == again.get("p", "a") == Judgement(REFUSED, 1.0)
    assert again.get("p", "a", at_most=99) is None


def test_another_place_is_another_judge(server: Endpoint) -> None:
    here, there = judge_at(server), judge_at(server, base_url="http://elsewhere/v1")
    assert here.settings() == judge_at(server, base_url=f"{server.url}/").settings()
    assert here.settings() != there.settings()


def test_a_line_cut_short_is_asked_again_and_spoils_no_other(
    server: Endpoint, tmp_path: Path
) -> None:
    assess(judge_at(server, tmp_path, concurrency=1), "a", "b")
    (path,) = judgements_folder(tmp_path).iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assess(judge_at(server, tmp_path), "a", "b", "c")
    assess(judge_at(server, tmp_path), "a", "b", "c")
    assert server.asked == {"a": 1, "b": 2, "c": 1}


KILLED = """
import signal
import sys
from pathlib import Path
from ssah_exp.evaluation.judges import EndpointJudge
from ssah_exp.evaluation.judges.rubrics import HexPhiRubric
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
judge = EndpointJudge(
    name="j", base_url=sys.argv[1], model="m", rubric=HexPhiRubric(), concurrency=1
)
judge.keep_in(Path(sys.argv[2]))
answers = list("abcdef")
judge.assess([f"p {answer}" for answer in answers], answers)
"""


def test_a_killed_run_asks_nothing_twice(server: Endpoint, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(tmp_path)])

    def kill(handler: Any) -> None:
        process.kill()
        process.wait()
        handler.close_connection = True

    server.script["d"] = [kill, says('{"score": 5}')]
    assert process.wait(60) == -9
    assert server.asked == dict.fromkeys("abcd", 1)
    found = assess(judge_at(server, tmp_path), *"abcdef")
    assert [item.score for item in found] == [1, 1, 1, 5, 1, 1]
    answered_once = dict.fromkeys("abcef", 1)
    assert server.asked == {**answered_once, "d": 2}, "d alone was never answered"


def test_an_interrupted_run_does_not_wait_for_an_endpoint_that_hangs(
    server: Endpoint, tmp_path: Path
) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, server.url, str(tmp_path)])

    def hang(handler: Any) -> None:
        process.send_signal(signal.SIGINT)
        time.sleep(60)

    server.script["c"] = [hang, says('{"score": 5}')]
    began = time.monotonic()
    assert process.wait(90) == -signal.SIGINT
    assert time.monotonic() - began < 50, "its questions may take a minute each"
    found = assess(judge_at(server, tmp_path), *"abcdef")
    assert [item.score for item in found] == [1, 1, 5, 1, 1, 1]
    assert server.asked["a"] == server.asked["b"] == 1
