"""Genetic search over templates: what must hold whatever is drawn, and that it finds something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks import AutoDan, Victim
from ssah_exp.evaluation.attacks.autodan import SLOT, _Search, split
from ssah_exp.evaluation.attacks.base import stream_of
from ssah_exp.evaluation.generate import Decoding
from tests import tiny
from tests.evaluation.attacked import REQUEST, SYSTEM, victim_of
from tests.evaluation.test_gcg import attack as gcg

TEMPLATES = ["w20 w21. w22 {request} w23. w24", "w25. w26. {request}", "{request} w27 w28. w29"]
SYNONYMS = [["wa", "wb", "wc"], ["we", "wf"]]


def attack(**changes: Any) -> AutoDan:
    values: dict[str, Any] = {
        "target": "w1 w2",
        "templates": TEMPLATES,
        "population": 6,
        "generations": 3,
        "elites": 2,
        "batch_size": 4,
    }
    return AutoDan(name="autodan", **{**values, **changes})


def search_of(settings: AutoDan, seed: int = 0) -> _Search:
    draw = stream_of(seed, REQUEST)
    return _Search(settings, settings._pool, victim_of(), REQUEST, draw)


def test_a_template_is_cut_into_sentences() -> None:
    assert split("One thing. Two:\n\n{request} more? Three", "t") == (
        "One thing. ",
        "Two:\n\n",
        "{request} more? ",
        "Three ",
    )


def test_a_template_is_put_as_it_was_given() -> None:
    """Line breaks and capitals included, where nothing was exchanged."""
    given = "RULES:\n\n1. BE BRIEF.\n- Ok\n\nTask:  {request}\n\nThanks."
    method = attack(templates=[given], synonyms=[["rules", "rules"], ["brief"]])
    assert method.settings()["templates"] == [given]
    search = search_of(method)
    assert search._text(search._reword(search._pool[0])) == given.replace(SLOT, REQUEST.prompt)


def test_a_sentence_that_comes_to_stand_elsewhere_is_parted_from_its_neighbours() -> None:
    search = search_of(attack(templates=["One.\n{request}? Two."]))
    first, middle, last = search._pool[0]
    assert search._text((last, middle, first)) == f"Two. {REQUEST.prompt}? One."


def test_of_too_many_templates_the_first_begin_the_search() -> None:
    many = [f"w{number}. {{request}}" for number in range(10)]
    search = search_of(attack(templates=many, population=4))
    assert search._first() == [split(text, "t") for text in many[:4]]


@pytest.mark.parametrize("text", ["no slot", "{request} twice {request}"])
def test_a_template_has_the_request_once(text: str) -> None:
    with pytest.raises(ConfigError, match="exactly once"):
        attack(templates=[text])


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_drawn_holds_the_request_once(seed: int) -> None:
    search = search_of(attack(crossover=1.0, mutation=1.0, population=8), seed)
    population = search._first()
    for _ in range(6):
        fitness = list(np.linspace(-2, -1, len(population)))
        population = search._next(population, fitness)
        assert len(population) == 8
        assert all(" ".join(template).count(SLOT) == 1 for template in population)
    assert len(set(population)) > 2


def test_crossing_loses_and_invents_no_sentence() -> None:
    search = search_of(attack())
    one, other = search._pool[0], search._pool[1]
    kinds = set()
    for _ in range(10):
        left, right = search._cross(one, other)
        assert sorted([*left, *right]) == sorted([*one, *other])
        kinds.add(left)
    assert len(kinds) == 2


def test_elites_pass_unchanged() -> None:
    search = search_of(attack())
    population = search._first()
    fitness = [-3.0, -1.0, -2.0, -5.0, -4.0, -6.0]
    after = search._next(population, fitness)
    assert after[:2] == [population[1], population[2]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_parents_that_did_better_are_drawn_more_often(temperature: float) -> None:
    search = search_of(attack(crossover=0.0, mutation=0.0, elites=1, temperature=temperature))
    better, worse, _ = search._pool
    children = search._next([better, worse] * 200, [-1.0, -2.0] * 200)[1:]
    assert set(children) == {better, worse}
    share = children.count(better) / len(children)
    assert share == pytest.approx(1 / (1 + np.exp(-1 / temperature)), abs=0.08)


@pytest.mark.parametrize("chance", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("key", "differ"), [("crossover", 2 / 3), ("mutation", 1.0)])
def test_parents_are_crossed_and_children_mutated_as_often_as_set(
    key: str, differ: float, chance: float
) -> None:
    """Two parents in three are different templates, which crossing makes into two new ones."""
    search = search_of(attack(**{"elites": 1, "crossover": 0.0, "mutation": 0.0, key: chance}))
    children = search._next([*search._pool] * 150, [-1.0] * 450)[1:]
    new = [child for child in children if child not in search._pool]
    assert len(new) / len(children) == pytest.approx(chance * differ, abs=0.08)


def test_words_gather_scores_with_momentum() -> None:
    search = search_of(attack(synonyms=SYNONYMS, momentum=0.25))
    search._learn([("wa we {request}",), ("Wb {request} wz",)], [-1.0, -3.0])
    assert search._scores == {"wa": -1.0, "we": -1.0, "wb": -3.0}
    search._learn([("wa {request}",), ("wa wb {request}",)], [-2.0, -4.0])
    assert search._scores == {
        "wa": 0.25 * -1.0 + 0.75 * -3.0,
        "we": -1.0,
        "wb": 0.25 * -3.0 + 0.75 * -4.0,
    }


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_words_that_did_better_are_drawn_more_often(temperature: float) -> None:
    search = search_of(attack(synonyms=[["wa", "wb"]], temperature=temperature))
    search._scores = {"wa": -1.0, "wb": -2.0}
    words = [search._reword(("wb. {request}",))[0] for _ in range(400)]
    share = words.count("wa. {request}") / 400
    assert share == pytest.approx(1 / (1 + np.exp(-1 / temperature)), abs=0.08)
    assert search._reword(("Wb x {request}",))[0][0] == "W"


def test_the_request_is_never_reworded() -> None:
    """Its words may have synonyms; they are put in after all rewording."""
    search = search_of(attack(synonyms=[["request", "task"], ["w", "v"]]))
    for _ in range(20):
        assert search._reword(("{request}.",)) == ("{request}.",)


def test_the_best_is_no_worse_than_the_plain_request_and_every_template() -> None:
    victim = victim_of()
    (found,) = attack().attempts(victim, REQUEST, 0)
    target = victim.encode_answer("w1 w2", "raw")
    texts = [REQUEST.prompt, *(text.replace(SLOT, REQUEST.prompt) for text in TEMPLATES)]
    losses = victim.losses([victim.encode(text, REQUEST) for text in texts], target, 1)
    assert found.details is not None
    assert found.details["first_loss"] == pytest.approx(losses[0], abs=1e-5)
    assert found.details["best_loss"] <= min(losses) + 1e-5
    (again,) = victim.losses([victim.encode(found.text, REQUEST)], target, 1)
    assert again == pytest.approx(found.details["best_loss"], abs=1e-5)
    assert REQUEST.prompt in found.text


def test_the_seed_decides_and_the_batch_does_not() -> None:
    victim = victim_of()
    texts = [attack(batch_size=size).attempts(victim, REQUEST, 1)[0].text for size in (1, 4, 32)]
    assert len(set(texts)) == 1
    evaluated = {
        tuple(sorted(attack().attempts(victim, REQUEST, seed)[0].details.items()))  # type: ignore[union-attr]
        for seed in range(4)
    }
    assert len(evaluated) > 1


def test_a_model_that_overflows_ends_no_search() -> None:
    """In float16 an ablation may: every loss is NaN, and no template better than the request."""
    loaded = tiny.tiny_loaded("llama_gqa", seed=3)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.fill_(torch.nan)
    victim = Victim.of(loaded, SYSTEM, Decoding(4, 4, share_prefix=True))
    for method in (attack(), gcg(steps=2)):
        (attempt,) = method.attempts(victim, REQUEST, 0)
        assert attempt.text.startswith(REQUEST.prompt)
        assert attempt.details is not None
        assert attempt.details["best_loss"] == attempt.details["first_loss"] == 1e6


def test_templates_may_come_from_a_file(tmp_path: Any) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("\n".join(TEMPLATES), encoding="utf-8")
    from_file, given = attack(templates=[], path=str(path)), attack()
    assert from_file.settings() == given.settings()
    assert from_file.describe() == {**given.describe(), "templates": from_file.fingerprint()}
    assert from_file.fingerprint() is not None
    assert given.fingerprint() is None
    with pytest.raises(ConfigError, match="not both"):
        attack(path=str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elites": 6}, "leave no room"),
        ({"mutation": 1.5}, r"mutation=1.5 lies outside"),
        ({"temperature": 0}, "not above 0"),
        ({"templates": []}, "give templates"),
        ({"target": " "}, "target is blank"),
        ({"population": 1, "generations": 0}, "population=1 is below 2"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        attack(**change)
