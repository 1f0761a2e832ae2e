"""PAIR's attacker and judge behind a server that misbehaves, and an attacker on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ssah_exp.errors import ConfigError, JudgeError, ModelError
from ssah_exp.evaluation.attacks.partners import EndpointPartner, LocalPartner, Turn
from ssah_exp.evaluation.attacks.search import search
from ssah_exp.evaluation.judges import EndpointJudge
from ssah_exp.evaluation.judges.rubrics import HexPhiRubric
from ssah_exp.models.sources import LocalFolder
from tests import tiny
from tests.evaluation.attacked import REQUEST, victim_of
from tests.evaluation.misbehaving import Endpoint, cut, in_parts, refuses, says, status
from tests.evaluation.rewording import PLAIN, ByAnswer, Scripted, pair, wording


@pytest.fixture
def server(server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("ATTACKER_API_KEY", "sk-secret")
    return server


def partner(server: Endpoint, **changes: Any) -> EndpointPartner:
    values = {"api_key_env": "ATTACKER_API_KEY", "attempts": 3, "backoff": 0.01, "max_wait": 0.1}
    return EndpointPartner(base_url=server.url, model="m", **{**values, **changes})


def test_attacker_and_judge_behind_a_server_that_misbehaves(server: Endpoint) -> None:
    victim = victim_of()
    plain, better = victim.answers([PLAIN, "w5 w6"], REQUEST)
    server.script[PLAIN] = [status(500), cut, says(wording("w5 w6")), says("no")]
    server.script[better] = [status(429), says('{"score": 5}')]
    judge = EndpointJudge(
        name="j",
        base_url=server.url,
        model="judge",
        rubric=HexPhiRubric(),
        backoff=0.01,
        max_wait=0.1,
    )
    (found,) = pair(partner(server), judge).attempts(victim, REQUEST, 0)
    assert found.text == "w5 w6"
    assert dict(server.asked) == {PLAIN: 3, plain: 1, better: 2}
    bodies = [body for _, key, body in server.seen if key == "Bearer sk-secret"]
    assert len(bodies) == 3
    assert all(body["model"] == "m" and isinstance(body["seed"], int) for body in bodies)
    assert "sk-secret" not in json.dumps(pair(partner(server), judge).describe())


def endpoint_judge(server: Endpoint, **changes: Any) -> EndpointJudge:
    quick = {"attempts": 1, "backoff": 0.01, "max_wait": 0.1}
    return EndpointJudge(
        name="j", base_url=server.url, model="judge", rubric=HexPhiRubric(), **{**quick, **changes}
    )


@pytest.mark.parametrize("code", [503, 403])
@pytest.mark.filterwarnings("ignore:Judge 'j' left")
def test_a_judge_that_is_down_ends_the_search_and_nothing_is_kept(
    server: Endpoint, tmp_path: Path, code: int
) -> None:
    """A key that is revoked after the first answer looks like 403."""
    victim = victim_of()
    plain, better = victim.answers([PLAIN, "w5 w6"], REQUEST)
    server.script[better] = [status(code), says('{"score": 5}')]
    path = tmp_path / "attempts.jsonl"
    attack = pair(Scripted([wording("w5 w6")]), endpoint_judge(server))
    with pytest.raises(JudgeError, match=f"judge 'j' did not score an answer: http {code}"):
        search(attack, victim, [REQUEST], 0, path)
    assert not path.exists()
    ((found,),) = search(
        pair(Scripted([wording("w5 w6")]), endpoint_judge(server)), victim, [REQUEST], 0, path
    )
    assert found["text"] == "w5 w6"
    assert server.asked == {plain: 2, better: 2}


@pytest.mark.filterwarnings("ignore:Judge 'j' left")
def test_a_judges_spent_budget_ends_the_search(server: Endpoint, tmp_path: Path) -> None:
    judge = endpoint_judge(server, max_requests=1)
    attack = pair(Scripted([wording("w5 w6")]), judge)
    with pytest.raises(JudgeError, match=r"budget of 1 requests spent.* higher max_req"):
        search(attack, victim_of(), [REQUEST], 0, tmp_path / "attempts.jsonl")
    assert len(server.seen) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Judge 'j' left")
def test_an_answer_that_the_judges_filter_stops_is_passed_over(server: Endpoint) -> None:
    victim = victim_of()
    stopped, better = victim.answers(["w1 w2", "w5 w6"], REQUEST)
    server.script[stopped] = [refuses(400, code="content_filter")]
    server.script[better] = [says('{"score": 5}')]
    attacker = Scripted([wording("w1 w2"), wording("w5 w6")])
    (found,) = pair(attacker, endpoint_judge(server)).attempts(victim, REQUEST, 0)
    assert found.text == "w5 w6"
    assert found.details is not None
    assert found.details["unscored"] == 1


def test_a_key_that_is_echoed_is_blotted_out(server: Endpoint) -> None:
    server.script["r"] = [says("sk-secret says no")]
    said = partner(server).reply([{"role": "system", "content": "s"}, request_turn("r")], 0)
    assert said == "[key] says no"


def test_a_reply_in_parts_is_one_text(server: Endpoint) -> None:
    server.script["r"] = [says(in_parts("a ", "b")), says([{"type": "thinking"}])]
    asking = partner(server, attempts=1)
    assert asking.reply(TURNS, 0) == "a b"
    with pytest.raises(JudgeError, match="no chat completion in the reply"):
        asking.reply(TURNS, 0)


def request_turn(text: str) -> Turn:
    return {"role": "user", "content": json.dumps({"request": text})}


TURNS = [{"role": "system", "content": "s"}, request_turn("r")]


FILTERED = refuses(400, code="content_filter")


@pytest.mark.parametrize("act", [says(None, refusal="no"), says(""), FILTERED])
def test_a_declined_question_is_no_reply(server: Endpoint, act: Any) -> None:
    server.script["r"] = [act]
    assert partner(server).reply(TURNS, 0) is None


@pytest.mark.parametrize("code", [400, 403, 422])
def test_an_attacker_that_declines_whatever_it_is_asked_ends_the_search(
    server: Endpoint, tmp_path: Path, code: int
) -> None:
    """For a wrong option, say: the plain requests would be recorded as what PAIR makes of them."""
    server.script[PLAIN] = [refuses(code, code="unsupported_parameter", message="max_tokens")]
    attack, path = pair(partner(server), ByAnswer(name="j", score_of=lambda _: 1)), tmp_path / "a"
    with pytest.raises(JudgeError, match=f"http {code}, and no content filter .* at options"):
        search(attack, victim_of(), [REQUEST], 0, path)
    assert not path.exists()


@pytest.mark.parametrize("act", [FILTERED, says("no")])
@pytest.mark.parametrize("code", [400, 403])
def test_an_attacker_that_answers_others_declines_one_by_anything_but_403(
    server: Endpoint, act: Any, code: int
) -> None:
    """What a filter stopped shows of a key or an option no more than that nothing was answered."""
    server.script["r"] = [act, status(code)]
    asking = partner(server)
    said = asking.reply(TURNS, 0)
    if said is None or code == 403:
        with pytest.raises(JudgeError, match=f"http {code}"):
            asking.reply(TURNS, 0)
    else:
        assert asking.reply(TURNS, 0) is None


@pytest.mark.parametrize("act", [status(503), cut, status(401)])
def test_an_endpoint_that_is_down_ends_the_search(server: Endpoint, act: Any) -> None:
    server.script["r"] = [act]
    with pytest.raises(JudgeError, match=re.escape(server.url)):
        partner(server).reply(TURNS, 0)


def test_a_spent_budget_ends_the_search(server: Endpoint) -> None:
    server.script["r"] = [says("no")]
    asking = partner(server, max_requests=1)
    assert asking.reply(TURNS, 0) == "no"
    with pytest.raises(JudgeError, match="budget of 1 requests spent"):
        asking.reply(TURNS, 0)


def test_a_spent_budget_holds_over_processes(server: Endpoint, tmp_path: Path) -> None:
    server.script["r"] = [says("no")]
    for allowed in (1, 2):
        asking = partner(server, max_requests=allowed)
        asking.keep_in(tmp_path)
        assert asking.reply(TURNS, 0) == "no"
    again = partner(server, max_requests=2)
    again.keep_in(tmp_path)
    with pytest.raises(JudgeError, match="budget of 2 requests spent"):
        again.reply(TURNS, 0)
    assert len(server.seen) == 2


def test_two_attackers_at_once_share_a_budget(server: Endpoint, tmp_path: Path) -> None:
    server.script["r"] = [says("no")]
    first, second = (partner(server, max_requests=2) for _ in range(2))
    for asking in (first, second):
        asking.keep_in(tmp_path)
        assert asking.reply(TURNS, 0) == "no"
    with pytest.raises(JudgeError, match="budget of 2 requests spent"):
        first.reply(TURNS, 0)
    assert len(server.seen) == 2


def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTACKER_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="ATTACKER_API_KEY is not set") as caught:
        EndpointPartner(base_url="ftp://x", model="", api_key_env="ATTACKER_API_KEY", attempts=0)
    assert len(str(caught.value).splitlines()) == 4
    judge = ByAnswer(name="j", score_of=lambda _: 1)
    with pytest.raises(ConfigError, match="rounds=0 is below 1") as caught:
        pair(Scripted([]), judge, rounds=0, streams=-2)
    assert "streams=-2 is below 1" in str(caught.value)
    with pytest.raises(ConfigError, match=r"attacker is one of.*; given are ByAnswer and ByAnswer"):
        pair(judge, judge)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("attacker")
    tiny.tiny_model("llama").save_pretrained(place)
    tiny.tiny_tokenizer().save_pretrained(place)
    return place


def test_a_local_attacker_is_decided_by_the_seed(folder: Path) -> None:
    attacker = LocalPartner(
        weights=LocalFolder(str(folder)), precision="float32", device="cpu", max_new_tokens=8
    )
    turns = [{"role": "system", "content": "w1"}, {"role": "user", "content": "w2 w3"}]
    before = torch.random.get_rng_state()
    replies = [attacker.reply(turns, seed) for seed in (0, 0, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert replies[0] == replies[1]
    assert len(set(replies)) > 1
    greedy = LocalPartner(
        weights=LocalFolder(str(folder)),
        precision="float32",
        device="cpu",
        max_new_tokens=8,
        temperature=0,
    )
    assert greedy.reply(turns, 0) == greedy.reply(turns, 1)
    assert greedy.settings() != attacker.settings()


def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a local attacker tells its model of how to answer."""
    attacker = LocalPartner(weights=LocalFolder(str(folder)), precision="float32", device="cpu")
    model = attacker._loaded[0]
    given: dict[str, Any] = {}

    def generate(**options: Any) -> torch.Tensor:
        given.update(options)
        return options["input_ids"]  # type: ignore[no-any-return]

    monkeypatch.setattr(model, "generate", generate)
    assert attacker.reply([request_turn("w1")], 0) is None
    return given | {"own": model.generation_config.to_diff_dict()}


def test_a_local_attacker_ends_its_turn_and_draws_from_every_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it it would go on with a user of its own; transformers draws from the likeliest 50."""
    given = told(folder, monkeypatch)
    assert tiny.SPECIALS.index("<|end|>") in given["eos_token_id"]
    assert tiny.SPECIALS.index("</s>") in given["eos_token_id"]
    assert (given["do_sample"], given["temperature"], given["top_k"]) == (True, 1.0, 0)
    assert not {"repetition_penalty", "suppress_tokens", "top_k"} & set(given["own"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_requests": -1}, "Attacker: max_requests=-1 is below 0"),
        ({"backoff": -1}, "Attacker: backoff=-1 is below 0"),
        ({"max_wait": -5}, "Attacker: max_wait=-5 is below 0"),
        ({"timeout": 0}, "Attacker: timeout=0 is not above 0"),
    ],
)
def test_numbers_of_an_attackers_endpoint_are_held_against_the_bounds_of_a_judges(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        EndpointPartner(base_url="http://x", model="m", **changes)


def test_weights_that_are_no_source_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"weights is one of ssah_exp\.models\.sources.*is str\."):
        LocalPartner(weights="somewhere")  # type: ignore[arg-type]


def test_numbers_of_a_local_attacker_are_named_in_what_refuses_them() -> None:
    with pytest.raises(ConfigError) as caught:
        LocalPartner(
            weights=LocalFolder("x"), precision="float8", temperature=-0.5, max_new_tokens=0
        )
    assert str(caught.value).splitlines() == [
        "Attacker: precision=float8. Did you mean 'float32'? Allowed: bfloat16, float16, float32.",
        "Attacker: max_new_tokens=0 is below 1.",
        "Attacker: temperature=-0.5 is below 0.",
    ]


def test_no_folder_no_local_attacker(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        LocalPartner(weights=LocalFolder(str(tmp_path / "none"))).reply(TURNS, 0)
