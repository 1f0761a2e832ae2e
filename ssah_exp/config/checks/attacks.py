"""Checks of attacks, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssah_exp.config.checks.judges import too_short
from ssah_exp.config.ranges import at_least, choice, choices, named
from ssah_exp.config.schema import AttackConfig, EvaluationConfig
from ssah_exp.config.vocabulary import STYLES


def attack_problems(evaluation: EvaluationConfig, *, attacked: bool) -> Iterable[str]:
    """Complain about every attack that cannot be run or would be ignored.

    Args:
        evaluation: With attacks by name.
        attacked: Whether the artefact asks arms questions at all.
    """
    attacks = evaluation.attacks
    if attacks and not attacked:
        yield f"evaluation.attacks ({', '.join(attacks)}): this artefact attacks nothing."
    for name, attack in attacks.items():
        yield from _attack(f"evaluation.attacks.{name}", name, attack)
        yield from _guide(f"evaluation.attacks.{name}.method.judge", attack, evaluation)
    yield from _mean(evaluation.mean_with, evaluation)


def _attack(where: str, name: str, attack: AttackConfig) -> Iterable[str]:
    yield from named(where, name)
    yield from choices(f"{where}.styles", attack.styles, STYLES)
    yield from at_least(f"{where}.requests", attack.requests, 1)


def _guide(where: str, attack: AttackConfig, evaluation: EvaluationConfig) -> Iterable[str]:
    """Complain about a judge that guides a search but calls every answer, cut short, a refusal."""
    judge = attack.method.get("judge")
    words = judge.get("keywords", judge) if isinstance(judge, Mapping) else None
    if not isinstance(words, Mapping):
        return
    name = str(words.get("name", where))
    yield from too_short(name, words, "evaluation.max_new_tokens", evaluation.max_new_tokens)


def _mean(name: str | None, evaluation: EvaluationConfig) -> Iterable[str]:
    yield from choice("evaluation.mean_with", name, evaluation.attacks)
    if name in evaluation.attacks and evaluation.attacks[name].requests is not None:
        yield (
            f"evaluation.mean_with={name}: that attack takes "
            f"{evaluation.attacks[name].requests} requests, the styles take all of them; a mean "
            f"needs the same ones. Set evaluation.attacks.{name}.requests=null."
        )
