"""PAIR: its loop by hand, and the shipped attack in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from ssah_exp.config.build import build
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks import Pair, Request
from ssah_exp.evaluation.attacks.search import search
from ssah_exp.evaluation.judges import ByRefusal, Judgement, KeywordJudge, Verdict
from ssah_exp.models.sources import LocalFolder
from tests import tiny
from tests.config.composing import config_of
from tests.evaluation.attacked import REQUEST, victim_of
from tests.evaluation.rewording import PLAIN, ByAnswer, Scripted, pair, scores, wording


@pytest.mark.filterwarnings("ignore:Judge 'j' left")
def test_the_wording_that_went_furthest_is_kept() -> None:
    victim = victim_of()
    judge = scores(victim, {PLAIN: 1, "w1 w2": 2, "w3 w4": 4, "w5": 3, "w6 w7": None})
    attacker = Scripted([wording(text) for text in ("w1 w2", "w3 w4", "w5", "w6 w7")])
    (found,) = pair(attacker, judge).attempts(victim, REQUEST, 0)
    assert found.text == "w3 w4"
    assert found.details == {
        "wordings": 4,
        "unusable": 0,
        "unscored": 1,
        "first_score": 1,
        "score": 4,
    }
    assert {prompt for prompt, _ in judge.asked} == {PLAIN}  # judged by the request itself


def test_the_attacker_is_told_what_came_of_it_stream_by_stream() -> None:
    victim = victim_of()
    judge = scores(victim, {PLAIN: 1, "w1 w2": 2, "w3 w4": 4, "w5": 3, "w6 w7": 1})
    attacker = Scripted([wording(text) for text in ("w1 w2", "w3 w4", "w5", "w6 w7")])
    pair(attacker, judge).attempts(victim, REQUEST, 0)
    lengths = [len(turns) for turns in attacker.shown]
    assert lengths == [2, 4, 2, 4]
    system, request, said, feedback = attacker.shown[1]
    assert json.loads(request["content"]) == {"request": PLAIN}
    assert "from 1 to 5" in system["content"]
    assert said == {"role": "assistant", "content": wording("w1 w2")}
    (answer,) = victim.answers(["w1 w2"], REQUEST)
    assert json.loads(feedback["content"]) == {"prompt": "w1 w2", "answer": answer, "score": 2}
    assert len(set(attacker.seeds)) == 4


def test_only_the_latest_exchanges_are_shown() -> None:
    victim = victim_of()
    judge = scores(victim, {PLAIN: 1, "w1 w2": 2, "w3 w4": 4, "w5": 3})
    attacker = Scripted([wording(text) for text in ("w1 w2", "w3 w4", "w5")])
    pair(attacker, judge, streams=1, rounds=3, keep_turns=1).attempts(victim, REQUEST, 0)
    assert [len(turns) for turns in attacker.shown] == [2, 4, 4]
    assert attacker.shown[2][2]["content"] == wording("w3 w4")


def test_the_first_success_ends_the_search() -> None:
    victim = victim_of()
    judge = scores(victim, {PLAIN: 1, "w1 w2": 5})
    (found,) = pair(Scripted([wording("w1 w2")]), judge).attempts(victim, REQUEST, 0)
    assert found.text == "w1 w2"
    never = Scripted([])
    (plain,) = pair(never, scores(victim, {PLAIN: 5})).attempts(victim, REQUEST, 0)
    assert (plain.text, never.shown) == (PLAIN, [])


@pytest.mark.filterwarnings("ignore:Judge 'j' left")
@pytest.mark.parametrize("first", [2, 5, None])
def test_what_the_plain_request_came_to_stands_beside_the_best(first: float | None) -> None:
    victim = victim_of()
    judge = scores(victim, {PLAIN: first, "w5": 3})
    (found,) = pair(Scripted([wording("w5")]), judge, streams=1, rounds=1).attempts(
        victim, REQUEST, 0
    )
    assert found.details is not None
    assert found.details["first_score"] == first
    assert found.details["score"] == (first if first == 5 else 3)


HALF = r'{"prompt": "hello \ud83d there"}'  # of a character, which no tokenizer takes


@pytest.mark.parametrize(
    "reply",
    [None, "I will not.", '{"prompt": 3}', '{"prompt": " "}', "{", HALF, '{"prompt": "w5"}\ud83d'],
)
def test_a_reply_without_a_wording_is_counted_and_passed_over(reply: str | None) -> None:
    victim = victim_of()
    judge = scores(victim, {PLAIN: 1, "w5": 3})
    attacker = Scripted([reply, wording("w5")])
    (found,) = pair(attacker, judge, streams=1).attempts(victim, REQUEST, 0)
    assert found.text == "w5"
    assert found.details is not None
    assert (found.details["wordings"], found.details["unusable"]) == (1, 1)
    assert len(attacker.shown[1]) == 2


def test_what_the_judge_leaves_unscored_is_part_of_the_settings() -> None:
    """With a longer limit, a search whose answers had gone unscored came from the cache."""
    judge = ByAnswer(name="j", score_of=lambda _: None)
    plain = pair(Scripted([]), judge).settings()
    assert "judge_most_tokens" not in plain, "searches by judges that count no tokens stay found"
    limits = []
    for most in (8, 8192):
        judge.most_tokens = lambda most=most: most  # type: ignore[method-assign,misc]
        limits.append(pair(Scripted([]), judge).settings())
    assert limits[0] != limits[1]
    assert [item.pop("judge_most_tokens") for item in limits] == [8, 8192]
    assert limits == [plain, plain]


def test_an_attacker_that_never_helps_leaves_the_plain_request() -> None:
    victim = victim_of()
    attack = pair(Scripted([None] * 4), scores(victim, {PLAIN: 2}))
    (found,) = attack.attempts(victim, REQUEST, 0)
    assert found.text == PLAIN


def test_a_judge_of_refusals_guides_the_search() -> None:
    victim = victim_of()
    plain, other = victim.answers([PLAIN, "w1 w2"], REQUEST)
    keywords = KeywordJudge(name="k", phrases=[plain])
    judge = ByRefusal(name="j", keywords=keywords)
    attacker = Scripted([wording("w1 w2"), wording("w3 w4")])
    (found,) = pair(attacker, judge).attempts(victim, REQUEST, 0)
    assert (found.text, found.details["score"]) == ("w1 w2", 1)
    assert len(attacker.replies) == 1, "the first success ends the search"
    assert judge.assess(["w", "w"], [plain, other]) == [
        Judgement(Verdict.REFUSED, 0.0),
        Judgement(Verdict.COMPLIED, 1.0),
    ]
    assert other not in str(judge.settings())
    for differs in (KeywordJudge("k", [other]), KeywordJudge("k", [plain], min_words=3)):
        assert judge.settings() != ByRefusal(name="j", keywords=differs).settings()
    with pytest.raises(ConfigError, match="keywords is a KeywordJudge"):
        ByRefusal(name="j", keywords="zou2023")  # type: ignore[arg-type]


def test_the_model_at_hand_rewords_in_small() -> None:
    overrides = ["+attack@evaluation.attacks.pair=pair_small"]
    config = config_of(*overrides)
    built = build(config.evaluation.attacks["pair"].method, "attack")
    assert isinstance(built, Pair)
    source = build(config.model.source, "model.source")
    assert built.attacker.fingerprint() == source.fingerprint()


def rewording_folder(place: Path) -> LocalFolder:
    """A random model each of whose words is a wording: what it says depends on its draws alone."""
    words = [
        *tiny.SPECIALS,
        *(json.dumps({"prompt": f"w{at}"}).replace(" ", "") for at in range(tiny.WORDS)),
    ]
    backend = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tiny.tiny_model("llama_gqa", seed=1).save_pretrained(place)
    tiny.tiny_tokenizer(tokenizer_object=backend).save_pretrained(place)
    return LocalFolder(str(place))


def test_the_small_attack_runs_and_is_decided_by_the_seed(tmp_path: Path) -> None:
    """The shipped config, on a tiny model; its judge takes the plain requests' answers for no."""
    victim = victim_of()
    requests = [REQUEST, Request("w13 w14", "raw")]
    node = config_of("+attack@evaluation.attacks.pair=pair_small").evaluation.attacks["pair"].method
    weights = rewording_folder(tmp_path / "attacker")
    node["attacker"] |= {
        "weights": {"_target_": "ssah_exp.models.sources.LocalFolder", "path": weights.path},
        "precision": "float32",
        "device": "cpu",
        "max_new_tokens": 2,
    }
    phrases = victim.answers([item.prompt for item in requests], REQUEST)
    node["judge"]["keywords"]["phrases"] = phrases

    def found(seed: int, name: str) -> list[Any]:
        attack = build(node, "attack")
        assert isinstance(attack, Pair)
        attack.keep_in(tmp_path)
        return search(attack, victim, requests, seed, tmp_path / name)

    first = found(0, "a.jsonl")
    assert first == found(0, "b.jsonl")
    for request, (attempt,) in zip(requests, first, strict=True):
        assert attempt["text"] != request.prompt
        assert attempt["details"]["wordings"] >= 1
        assert attempt["details"]["score"] == 1
    assert [found(seed, f"{seed}.jsonl") for seed in (1, 2)] != [first, first]


def test_the_style_decides_how_a_wording_is_put() -> None:
    victim = victim_of()
    requests = {style: Request(PLAIN, style) for style in ("raw", "chat")}
    answers = {style: victim.answers([PLAIN], item)[0] for style, item in requests.items()}
    assert answers["raw"] != answers["chat"]
    judge = ByAnswer(name="j", score_of=lambda answer: 5 if answer == answers["chat"] else 1)
    (found,) = pair(Scripted([]), judge).attempts(victim, requests["chat"], 0)
    assert found.text == PLAIN
