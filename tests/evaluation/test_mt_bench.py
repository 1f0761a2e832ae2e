"""MT-bench: two turns, ratings by an endpoint on loopback, resumed without asking twice."""

from __future__ import annotations

import io
import json
import os
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from ssah_exp.cache import Cache
from ssah_exp.config.identity import run_id, science
from ssah_exp.config.schema import EvaluationConfig, MtBenchConfig, RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import ConfigError, DataError, StoreError
from ssah_exp.evaluation import generate
from ssah_exp.evaluation.generate import Decoding
from ssah_exp.evaluation.intervals import Resampling, mean_score, rate
from ssah_exp.evaluation.judges import HarmJudge
from ssah_exp.evaluation.judges.base import Judgement, Verdict
from ssah_exp.evaluation.metrics import Measured
from ssah_exp.evaluation.mt_bench.conversations import (
    ConversationAnswers,
    hold,
    longest_conversation,
    read_answers,
    read_conversations,
    write_answers,
)
from ssah_exp.evaluation.mt_bench.metrics import mt_bench_judge, mt_bench_metrics
from ssah_exp.evaluation.mt_bench.rubric import MtBenchRubric
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.dispatch import PIPELINES
from ssah_exp.pipeline.opened import open_run
from ssah_exp.pipeline.progress import Reporter
from ssah_exp.pipeline.stages import Stages
from ssah_exp.reporting.artefacts import render_artefact
from tests import tiny
from tests.config.composing import config_of
from tests.evaluation.misbehaving import Endpoint, says, status
from tests.pipeline.tiny_run import save_data, save_model, silent, tiny_config

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["w1 w2", "w3"]},
    {"question_id": 101, "category": "math", "turns": ["w4", "w5 w6"]},
]
REFERENCES = [{"question_id": 101, "choices": [{"index": 0, "turns": ["r1", "r2"]}]}]
PROMPTS = [
    ("single-v1", "one", "{question}|{answer}"),
    ("single-v1-multi-turn", "two", "{question_1}|{answer_1}|{question_2}|{answer_2}"),
    ("single-math-v1", "math", "{ref_answer_1}|{question}|{answer}"),
    ("single-math-v1-multi-turn", "math two", "{ref_answer_1}|{ref_answer_2}|{answer_2}"),
]


def save_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


@pytest.fixture
def server(server: Endpoint) -> Endpoint:
    server.otherwise = says("Fine. Rating: [[5]]")
    return server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    save_lines(tmp_path / "questions.jsonl", QUESTIONS)
    save_lines(tmp_path / "references.jsonl", REFERENCES)
    rows = [
        {"name": name, "system_prompt": system, "prompt_template": template}
        for name, system, template in PROMPTS
    ]
    save_lines(tmp_path / "prompts.jsonl", rows)
    return tmp_path


def bench_of(server: Endpoint, files: Path) -> MtBenchConfig:
    bench = config_of("data.root=given", "mt_bench=files").mt_bench
    assert bench.judge is not None
    bench.judge |= {"base_url": server.url, "model": "m", "api_key_env": None, "attempts": 1}
    for key in ("questions", "prompts", "references"):
        setattr(bench, key, str(files / f"{key}.jsonl"))
    bench.max_new_tokens = 3
    return bench


def judge_of(server: Endpoint, files: Path, root: str = "root") -> HarmJudge:
    config = RunConfig(mt_bench=bench_of(server, files))
    config.paths.root = str(files / root)
    judge = mt_bench_judge(config)
    assert judge is not None
    return judge


ANSWERS = [ConversationAnswers(81, ("a", "b")), ConversationAnswers(101, ("c {answer_2}", "d"))]
ASKED = ["w1 w2|a", "w1 w2|a|w3|b", "r1|w4|c {answer_2}", "r1|r2|d"]


def rated(judge: HarmJudge) -> dict[str, float | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = mt_bench_metrics(ANSWERS, judge, EvaluationConfig())
    found, scores = measured.metrics, measured.outcomes.scores
    for name, ratings in scores.items():  # every mean is that of the ratings kept beside it
        given = [rating for rating in ratings if rating is not None]
        assert (len(ratings), found[name].n) == (len(ANSWERS), len(given))
        assert found[name].value == (pytest.approx(sum(given) / len(given)) if given else None)
    return {name: item.value for name, item in found.items()}


def test_each_turn_is_asked_with_the_prompt_of_its_category(server: Endpoint, files: Path) -> None:
    for content, rating in zip(ASKED, ("8", "3", "10", "4.5"), strict=True):
        server.script[content] = [says(f"Well. [[{rating}]] and not [[1]]")]
    assert rated(judge_of(server, files)) == {
        "mt_bench/turn1": 9.0,
        "mt_bench/turn2": 3.75,
        "mt_bench/mean": 6.375,
        "mt_bench/coverage": 1.0,
    }
    assert server.asked == dict.fromkeys(ASKED, 1)
    systems = {body["messages"][1]["content"]: body["messages"][0] for *_, body in server.seen}
    names = [systems[content]["content"] for content in ASKED]
    assert names == ["one", "two", "math", "math two"]
    assert all(body["temperature"] == 0 for *_, body in server.seen)


@pytest.mark.parametrize("reply", ["no rating", "[[0]]", "[[11]]", "[11]", ""])
def test_a_reply_without_a_rating_is_a_gap_in_its_turn(
    server: Endpoint, files: Path, reply: str
) -> None:
    server.script[ASKED[3]] = [says(reply)]
    found = rated(judge_of(server, files))
    assert found["mt_bench/turn1"] == found["mt_bench/turn2"] == found["mt_bench/mean"] == 5.0
    assert found["mt_bench/coverage"] == 0.75


@pytest.mark.parametrize(
    ("reply", "rating"), [("[3]", 3), ("[1] says so: [[4]]", 4), ("[[6]", 6), ("[[7.]]", 7)]
)
def test_single_brackets_do_where_there_are_no_double_ones(
    server: Endpoint, files: Path, reply: str, rating: float
) -> None:
    server.script[ASKED[0]] = [says(reply)]
    assert rated(judge_of(server, files))["mt_bench/turn1"] == (rating + 5) / 2


def test_what_was_rated_is_not_asked_again(server: Endpoint, files: Path) -> None:
    server.script[ASKED[1]] = [status(500), says("[[9]]")]
    assert rated(judge_of(server, files))["mt_bench/coverage"] == 0.75
    assert rated(judge_of(server, files))["mt_bench/turn2"] == 7.0
    assert server.asked == {**dict.fromkeys(ASKED, 1), ASKED[1]: 2}


def test_no_ratings_are_a_gap(server: Endpoint, files: Path) -> None:
    server.otherwise = says("I would rather not.")
    found = rated(judge_of(server, files))
    assert found["mt_bench/mean"] is None
    assert found["mt_bench/coverage"] == 0.0


def test_other_words_are_another_judge(server: Endpoint, files: Path) -> None:
    before = judge_of(server, files).describe()
    save_lines(files / "references.jsonl", [{**REFERENCES[0], "choices": [{"turns": ["x", "y"]}]}])
    after = judge_of(server, files).describe()
    assert before["rubric"] != after["rubric"]
    assert str(files) not in json.dumps(before)


def test_a_question_judged_without_its_reference_is_another_judge(
    server: Endpoint, files: Path
) -> None:
    before = judge_of(server, files).describe()
    save_lines(files / "questions.jsonl", [QUESTIONS[0], {**QUESTIONS[1], "category": "writing"}])
    assert judge_of(server, files).describe()["rubric"] != before["rubric"]


def rubric_of(files: Path, **changed: list[dict[str, Any]]) -> MtBenchRubric:
    """The rubric by these files, after some of them were written anew."""
    for name, rows in changed.items():
        save_lines(files / f"{name}.jsonl", rows)
    names = ("questions", "prompts", "references")
    return MtBenchRubric(**{name: str(files / f"{name}.jsonl") for name in names})


@pytest.mark.parametrize("category", ["math", "reasoning", "coding", "writing"])
def test_answers_of_three_categories_are_judged_beside_a_reference(
    files: Path, category: str
) -> None:
    rubric = rubric_of(files, questions=[{**QUESTIONS[1], "category": category}])
    system, user = rubric.messages("101", '["a", "b"]')
    beside = category != "writing"
    assert system["content"] == ("math two" if beside else "two")
    assert ("r1|r2" in user["content"]) == beside


def test_whatever_the_judge_is_told_makes_it_another(files: Path) -> None:
    rows = [{"name": n, "system_prompt": s, "prompt_template": t} for n, s, t in PROMPTS]
    other = [{**rows[0], "system_prompt": "new"}, *rows[1:]]
    follow_up = {**QUESTIONS[0], "turns": ["w1 w2", "w9"]}
    texts = [
        rubric_of(files).describe()["text"],
        rubric_of(files, questions=[follow_up, QUESTIONS[1]]).describe()["text"],
        rubric_of(files, prompts=other).describe()["text"],
    ]
    assert len(set(texts)) == 3
    more = rubric_of(files, prompts=[*other, {**rows[0], "name": "pair-v2"}])
    assert more.describe()["text"] == texts[-1], "not one that is used"


def test_the_first_questions_are_read_where_fewer_are_asked(files: Path) -> None:
    numbers = [
        [item.number for item in read_conversations(files / "questions.jsonl", limit)]
        for limit in (1, 2, None)
    ]
    assert numbers == [[81], [81, 101], [81, 101]]


class Rater:
    """A judge that rates every answer alike, but fails on the last."""

    scale = MtBenchRubric.SCALE

    def assess(self, prompts: list[str], completions: list[str]) -> list[Judgement]:
        rated = [Judgement(Verdict.COMPLIED, 7.0) for _ in prompts[1:]]
        return [*rated, Judgement(Verdict.UNSCORED, failed=True)]


def test_intervals_are_of_the_scale_and_confidence_and_failures_are_counted() -> None:
    def measured(confidence: float) -> Measured:
        judge: Any = Rater()
        return mt_bench_metrics(ANSWERS, judge, EvaluationConfig(confidence=confidence))

    for confidence in (0.9, 0.95):
        found = measured(confidence)
        first = found.metrics["mt_bench/turn1"]
        assert first.low is not None
        assert first.high is not None
        assert 1 < first.low < 7 < first.high < 10, "no rating lies beyond the scale"
        assert first == mean_score([7.0, 7.0], Resampling(confidence, 1), ends=(1, 10))
        assert found.metrics["mt_bench/coverage"] == rate(3, 4, confidence, "turns")
        assert found.outcomes.failed == {"mt_bench": 1}


@pytest.mark.parametrize("text", ["{", '{"number": 1}', '{"number": 1, "turns": ["a"]}'])
def test_damaged_answers_are_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "answers.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"answers\.jsonl cannot be read"):
        read_answers(tmp_path / "answers.jsonl")


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("references", [{**REFERENCES[0], "question_id": 5}], "lacks answers to questions 101"),
        ("references", [{"question_id": 101, "choices": []}], "no file of reference answers"),
        ("prompts", [{"name": "x", "system_prompt": "", "prompt_template": ""}], "lacks the judge"),
        ("prompts", [{"name": "x", "system_prompt": ""}], "no column 'prompt_template'"),
        ("questions", [{"question_id": 1, "category": "c", "turns": ["one"]}], "no file of MT-ben"),
    ],
)
def test_wrong_files_are_refused_at_once(
    server: Endpoint, files: Path, name: str, rows: list[dict[str, Any]], message: str
) -> None:
    save_lines(files / f"{name}.jsonl", rows)
    with pytest.raises(DataError, match=message):
        judge_of(server, files)


def test_an_unknown_field_of_a_prompt_is_named(server: Endpoint, files: Path) -> None:
    rows = [
        {"name": name, "system_prompt": "", "prompt_template": "{answr}"} for name, *_ in PROMPTS
    ]
    save_lines(files / "prompts.jsonl", rows)
    with pytest.raises(DataError, match=r"no value for \{answr\}"):
        rated(judge_of(server, files))


def test_the_second_turn_sees_the_first_and_its_answer(files: Path) -> None:
    loaded = tiny.tiny_loaded()
    conversations = read_conversations(files / "questions.jsonl")
    found = hold(loaded, conversations, Decoding(4, 2, share_prefix=True))
    for item, given in zip(conversations, found, strict=True):
        turns: list[dict[str, str]] = []
        for user, answer in zip(item.turns, given.turns, strict=True):
            turns.append({"role": "user", "content": user})
            encode = loaded.speech.tokenizer
            text = str(
                encode.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            )
            ids = encode(text, add_special_tokens=False, return_tensors="pt").input_ids
            new = loaded.model.generate(  # type: ignore[operator]
                ids,
                max_new_tokens=4,
                do_sample=False,
                eos_token_id=list(loaded.speech.stop_ids),
                pad_token_id=loaded.speech.pad_id,
            )[0, ids.shape[1] :]
            assert encode.decode(new, skip_special_tokens=True).strip() == answer
            turns.append({"role": "assistant", "content": answer})
    write_answers(files / "answers.jsonl", found)
    assert read_answers(files / "answers.jsonl") == found


class BrokenError(Exception):
    """What ends a run in this test."""


def test_a_run_that_breaks_off_in_the_second_turn_goes_on_there(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**QUESTIONS[0], "question_id": at, "turns": [f"w{at} w2", "w3"]} for at in range(5)]
    save_lines(files / "questions.jsonl", rows)
    config = tiny_config(files)
    config.mt_bench.questions = str(files / "questions.jsonl")
    config.mt_bench.max_new_tokens, config.mt_bench.batch_size = 3, 2
    loaded = tiny.never_stopping(tiny.tiny_loaded("llama_gqa", seed=3))
    asked, complete = [], generate._complete

    def counted(*arguments: Any) -> Any:
        if len(asked) == breaks_at:
            raise BrokenError
        asked.append(len(arguments[1]))
        return complete(*arguments)

    monkeypatch.setattr(generate, "_complete", counted)
    ref = ModelRef("tiny", "0", str(files), "fingerprint")

    def answers(root: str) -> list[ConversationAnswers]:
        slot: Any = SimpleNamespace(get=lambda _: loaded)
        cache = Cache(files / root)
        stages = Stages(config, None, cache, silent(), slot, loaded.speech)  # type: ignore[arg-type]
        return read_answers(stages.mt_bench(ref, None, "arm").folder / "answers.jsonl")

    breaks_at = -1
    whole = answers("whole")
    assert asked == [2, 2, 1] * 2
    asked.clear()
    breaks_at = 5
    with pytest.raises(BrokenError):
        answers("broken")
    asked.clear()
    breaks_at = -1
    assert answers("broken") == whole
    assert asked == [1], "all but the last batch of the second turn was kept"
    assert list((files / "broken").rglob(".partial-*")) == []


def test_second_answers_are_kept_for_the_first_ones_they_saw(files: Path) -> None:
    """A first answer that was lost may come out otherwise, on another machine or another model."""
    conversations = read_conversations(files / "questions.jsonl")

    def held(seed: int, name: str) -> list[ConversationAnswers]:
        loaded = tiny.never_stopping(tiny.tiny_loaded("llama_gqa", seed=seed))
        return hold(loaded, conversations, Decoding(3, 2, share_prefix=False), partial=files / name)

    held(3, "one")
    other = held(4, "other")
    names = [{item.name for item in (files / name).iterdir()} for name in ("one", "other")]
    (first_turn,) = names[0] & names[1]
    shutil.rmtree(files / "one" / first_turn)
    assert held(4, "one") == other


def test_a_whole_run_has_mt_bench_in_record_and_table(server: Endpoint, files: Path) -> None:
    save_model(files / "model")
    save_data(files / "data")
    plain = tiny_config(files)
    plain.ablation.classes, plain.ablation.fills_of = [], []
    plain.ablation.controls.of = []
    config = tiny_config(files)
    config.ablation = plain.ablation
    config.mt_bench = bench_of(server, files)
    validate(config)
    said = io.StringIO()
    reporter = Reporter(Console(file=said), bars=False)
    finished = PIPELINES["table1_pruning"](config, reporter)
    assert "mt_bench.max_new_tokens" not in said.getvalue()
    asked = len(server.seen)
    for arm in finished.record.arms:
        assert arm.metrics["mt_bench/mean"].value == 5.0
        assert arm.metrics["mt_bench/mean"].n == len(QUESTIONS)
        assert len(read_answers(finished.folder / f"mt_bench/{arm.name}.jsonl")) == len(QUESTIONS)
    assert finished.record.judges["mt_bench"]["rubric"]["name"] == "mt_bench"
    assert finished.record.judges["mt_bench"]["served"] == ["judge-1"]
    assert "MT-bench, turn 2" in render_artefact([finished.record], "markdown")
    assert server.url not in json.dumps(science(plain))
    assert run_id(config, {}) != run_id(plain, {})
    again = PIPELINES["table1_pruning"](config, Reporter(Console(file=io.StringIO()), bars=False))
    assert not again.fresh
    assert len(server.seen) == asked


@pytest.mark.parametrize("over", [False, True])
def test_conversations_that_may_outgrow_the_model_are_said_before_anything_is_trained(
    server: Endpoint, files: Path, over: bool
) -> None:
    save_model(files / "model")
    save_data(files / "data")
    config = tiny_config(files)
    config.mt_bench = bench_of(server, files)
    said = io.StringIO()
    base, stages = open_run(config, Reporter(Console(file=said, width=500), bars=False)).prepare()
    limit = json.loads((files / "model/config.json").read_text())["max_position_embeddings"]
    asked = longest_conversation(stages.speech, read_conversations(files / "questions.jsonl"), 0)
    assert 5 < asked < limit
    config.mt_bench.max_new_tokens = (limit - asked) // 2 + over
    stages.check_conversations(base)
    lines = [line for line in said.getvalue().splitlines() if "max_new_tokens" in line]
    assert len(lines) == over
    if over:
        tokens = asked + 2 * config.mt_bench.max_new_tokens
        assert f"has {tokens} tokens, and the model was made for {limit} positions" in lines[0]


def test_options_without_a_judge_are_refused() -> None:
    config = config_of()
    config.mt_bench.limit = 3
    with pytest.raises(ConfigError, match=r"mt_bench\.judge is missing.*no effect"):
        validate(config)


ROOT = os.environ.get("SSAH_DATA_ROOT")


@pytest.mark.skipif(ROOT is None, reason="SSAH_DATA_ROOT names no data")
def test_the_published_prompts_are_filled_for_every_question() -> None:
    place = f"{ROOT}/mt_bench"
    rubric = MtBenchRubric(
        questions=f"{place}/question.jsonl",
        prompts=f"{place}/judge_prompts.jsonl",
        references=f"{place}/reference_answer_gpt-4.jsonl",
    )
    conversations = read_conversations(Path(rubric.questions))
    assert len(conversations) == 80
    for item in conversations:
        for answers in (["first {answer}"], ["first", "second"]):
            _, user = rubric.messages(str(item.number), json.dumps(answers))
            said = user["content"]
            assert item.turns[len(answers) - 1] in said
            assert answers[-1] in said
            referenced = item.category in ("math", "reasoning", "coding")
            assert ("Start of Reference Answer" in said) == referenced
