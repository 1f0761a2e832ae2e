"""Checks of judges, before anything is computed: what they need, what they can tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ssah_exp.config.facts import class_of
from ssah_exp.config.ranges import at_least, named
from ssah_exp.config.schema import MtBenchConfig
from ssah_exp.config.vocabulary import MT_BENCH

# Class of ssah_exp.evaluation.judges -> arguments that only a user can know.
_REQUIRED = {
    "EndpointJudge": ("base_url", "model"),
    "GuardJudge": ("weights",),
    "HarmBenchJudge": ("weights",),
    "ReaderJudge": ("path",),
}
_KEYWORD = (
    "ssah_exp.evaluation.judges.KeywordJudge",
    "ssah_exp.evaluation.judges.keyword.KeywordJudge",
)
_LENGTH_RULES = ("min_words", "min_distinct")


def judge_problems(judges: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Complain about judges with a bad name, without what they need, or of one verdict only."""
    for name, node in judges.items():
        where = f"evaluation.judges.{name}"
        yield from named(where, name)
        if name == MT_BENCH:
            yield f"{where}: that name is MT-bench's own judge's in records; choose another."
        yield from _missing(node, where)
        if str(node.get("_target_", "")) in _KEYWORD:
            rules = [node.get(rule, 0) for rule in _LENGTH_RULES]
            yield from phrase_problems(f"{where}.phrases", node.get("phrases"), rules)


def phrase_problems(where: str, phrases: Any, rules: Iterable[Any]) -> Iterable[str]:
    """Complain about a keyword judge that would give all answers the same verdict.

    Args:
        where: What holds the phrases, for the message.
        phrases: A list of texts; anything else is refused where the judge is built.
        rules: ``min_words`` and ``min_distinct``; 0 = off.
    """
    if not isinstance(phrases, list):
        return
    if not phrases and not any(rules):
        yield (
            f"{where} is empty, and {' and '.join(_LENGTH_RULES)} are 0: the judge could call no "
            "answer a refusal. Give phrases, or a least number of words."
        )
    for phrase in phrases:
        if isinstance(phrase, str) and not phrase.strip():
            yield (
                f"{where} holds {phrase!r}, which is in any answer: the judge would call all of "
                "them refusals. Take it out; min_words=1 is the rule for answers without text."
            )


def too_short(name: str, judge: Mapping[str, Any], key: str, tokens: int) -> Iterable[str]:
    """Complain where answers end before a judge takes them for answers.

    Args:
        name: The judge's name.
        judge: The judge's node.
        key: The config key that limits answers.
        tokens: Tokens of the longest answer.
    """
    least = [judge.get(rule, 0) for rule in _LENGTH_RULES]
    words = max((rule for rule in least if isinstance(rule, int)), default=0)
    # An English word is about 1.3 tokens: shorter answers would all count as refusals.
    if words and tokens < 2 * words:
        yield (
            f"Judge '{name}' counts an answer of under {words} words as a refusal, and "
            f"{key}={tokens} cuts most answers that short; set it to at least {2 * words} or take "
            "another judge."
        )


def _missing(node: Mapping[str, Any], where: str) -> Iterable[str]:
    for key in _REQUIRED.get(class_of(node), ()):
        value = node.get(key)
        parts = value if isinstance(value, Mapping) and value else {"": value}
        for part, item in parts.items():
            if not item:
                name = ".".join(filter(None, (where, key, part)))
                yield f"{name} is missing; give it as {name}=VALUE."


def mt_bench_problems(bench: MtBenchConfig) -> Iterable[str]:
    """What is wrong with a run's MT-bench settings."""
    if bench.judge is None:
        if bench != MtBenchConfig():
            yield (
                "mt_bench.judge is missing, so the other mt_bench options would have no effect; "
                "choose mt_bench=files."
            )
        return
    yield from _missing(bench.judge, "mt_bench.judge")
    if not str(bench.judge.get("_target_", "")).endswith(".EndpointJudge"):
        yield "mt_bench.judge is no ssah_exp.evaluation.judges.EndpointJudge."
    if "rubric" in bench.judge:
        yield "mt_bench.judge.rubric would have no effect: MT-bench has a rubric of its own."
    for key in ("questions", "prompts", "references"):
        if not getattr(bench, key):
            yield f"mt_bench.{key} is missing; give it as mt_bench.{key}=FILE."
    yield from at_least("mt_bench.max_new_tokens", bench.max_new_tokens, 1)
    yield from at_least("mt_bench.batch_size", bench.batch_size, 1)
    yield from at_least("mt_bench.limit", bench.limit, 1)
