"""Judgements under attack: the best attempt, each attempt, with and without a given beginning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ssah_exp.evaluation.judges import Judgement, Verdict
from ssah_exp.evaluation.questions import Completion

# Styles under attack: ``raw+gcg``; one of several attempts: ``raw+suffixes#2``; answers judged
# without the beginning that was given: ``raw+prefill.continuation``.
CONTINUATION = ".continuation"
ATTEMPT = "#"


def attacked_style(style: str, attack: str) -> str:
    """The style under an attack, as metrics and questions name it: ``STYLE+ATTACK``."""
    return f"{style}+{attack}"


def styles_under(attacks: Mapping[str, Any]) -> Iterator[str]:
    """Every style under every attack, judged with and without a beginning that was given.

    Args:
        attacks: Attack -> its settings in a record's config.
    """
    for name, attack in attacks.items():
        for style in attack["styles"]:
            yield attacked_style(style, name)
            yield f"{attacked_style(style, name)}{CONTINUATION}"


def joined_styles(evaluation: Mapping[str, Any]) -> list[str]:
    """The styles in the mean with an attack: every plain style, and those under that attack.

    Args:
        evaluation: This part of a record's config; its ``mean_with`` names the attack.
    """
    joining = evaluation["mean_with"]
    under = [attacked_style(style, joining) for style in evaluation["attacks"][joining]["styles"]]
    return [*evaluation["harmful_styles"], *under]


def attempt_style(style: str, number: int) -> str:
    """The style of one attempt; numbers begin with 1."""
    return f"{style}{ATTEMPT}{number}"


def is_attacked(style: str) -> bool:
    """Whether a question's style names an attack."""
    return "+" in style


def continuation(completion: Completion) -> str:
    """What the model itself said, after a beginning it was given.

    Completions are stripped of blanks at both ends, so the beginning is stripped before it is cut
    off.
    """
    prefill = (completion.question.prefill or "").strip()
    return completion.text.removeprefix(prefill).strip()


def any_of(attempts: Sequence[Judgement]) -> Judgement:
    """One judgement on a request that was put in several ways: it succeeds if any attempt does.

    An unscored attempt leaves the request unscored, whether or not another succeeded: if only
    requests without a success were left out, the rate would rise with every gap. The score is the
    highest of all attempts, so that rates and scores cover the same requests.
    """
    if any(item.verdict is Verdict.UNSCORED for item in attempts):
        return Judgement(Verdict.UNSCORED)
    scores = [item.score for item in attempts if item.score is not None]
    highest = max(scores) if len(scores) == len(attempts) else None
    succeeded = any(item.verdict is Verdict.COMPLIED for item in attempts)
    return Judgement(Verdict.COMPLIED if succeeded else Verdict.REFUSED, highest)


def by_attacked_style(
    completions: Sequence[Completion], said: Sequence[Judgement]
) -> dict[str, list[Judgement]]:
    """Judgements per request, by attacked style and, if there are several attempts, by attempt.

    Args:
        completions: Attempts of one request follow each other, from attempt 0.
        said: One judgement per completion.

    Returns:
        Style -> judgements, one per request, in the requests' order.
    """
    found: dict[str, list[Judgement]] = {}
    for style, requests in _requests(completions, said).items():
        found[style] = [any_of(attempts) for attempts in requests]
        if len(requests[0]) > 1:
            for number, attempts in enumerate(zip(*requests, strict=True), start=1):
                found[attempt_style(style, number)] = list(attempts)
    return found


def _requests(
    completions: Sequence[Completion], said: Sequence[Judgement]
) -> Mapping[str, list[list[Judgement]]]:
    by_style: dict[str, list[list[Judgement]]] = {}
    pairs = list(zip(completions, said, strict=True))
    for style, of_style in groupby(pairs, key=lambda pair: pair[0].question.style):
        by_style.setdefault(style, []).extend(_attempts(list(of_style)))
    return by_style


def _attempts(pairs: Sequence[tuple[Completion, Judgement]]) -> Iterator[list[Judgement]]:
    """The judgements of each request in turn; a request begins with its attempt 0."""
    current: list[Judgement] = []
    for completion, judgement in pairs:
        if completion.question.attempt == 0 and current:
            yield current
            current = []
        current.append(judgement)
    if current:
        yield current
