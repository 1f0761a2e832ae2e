"""Hierarchical genetic search over prompt templates, after AutoDAN (Liu et al. 2023, 2310.04451).

An individual is a template: sentences around the request. Its fitness is the target's
log-likelihood as the answer's beginning. Each generation works on two levels, as the paper's does:
words are exchanged for synonyms by scores that words have gathered, and templates are crossed at
the request's sentence. Where the paper asks an LLM to reword templates and WordNet for synonyms,
sentences from the pool and a short list of synonyms stand in, so that the search runs offline and
is decided by its seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax

from ssah_exp.config.ranges import above, at_least, within
from ssah_exp.data.files import read_texts
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks.base import Attack, Attempt, stream_of
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim

SLOT = "{request}"
Template = tuple[str, ...]  # sentences with the blanks behind them; exactly one holds the slot


@dataclass(kw_only=True)
class AutoDan(Attack):
    """Evolves templates for each request, against the model under attack itself.

    Attributes:
        target: Beginning of an answer to make likely; ``{request}`` stands for the request.
        templates: Texts with ``{request}`` in them; empty if ``path`` is given.
        path: ``.txt`` with a template on each line, or ``.json`` or ``.jsonl`` with strings.
        synonyms: Groups of words that may stand for each other.
        population: Templates per generation. Of more templates than that, the first begin the
            search; the others lend it sentences only.
        generations: Rounds.
        elites: Best templates that pass unchanged.
        crossover: Chance that two parents are crossed.
        mutation: Chance that a template gets a sentence from the pool, or loses one.
        temperature: Temperature, in nats, at which parents and synonyms are drawn by their scores.
        momentum: Share of its old score a word keeps.
        batch_size: Prompts per forward pass; changes nothing beyond rounding.
    """

    target: str
    templates: list[str] = field(default_factory=list)
    path: str | None = None
    synonyms: list[list[str]] = field(default_factory=list)
    population: int = 16
    generations: int = 10
    elites: int = 2
    crossover: float = 0.5
    mutation: float = 0.2
    temperature: float = 0.5
    momentum: float = 0.5
    batch_size: int = 32

    VERSION: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        self.refuse(self._problems())
        self._pool = [split(text, self.name) for text in self._texts()]

    def _problems(self) -> Iterator[str]:
        yield from at_least("population", self.population, 2)
        for key in ("generations", "elites", "batch_size"):
            yield from at_least(key, getattr(self, key), 1)
        for key in ("crossover", "mutation", "momentum"):
            yield from within(key, getattr(self, key), 0, 1)
        yield from above("temperature", self.temperature, 0)
        if not self.target.strip():
            yield "target is blank: there is nothing to make likely."
        if self.elites >= self.population:
            yield f"elites={self.elites} leave no room in population={self.population}."
        if bool(self.templates) == (self.path is not None):
            yield "give templates, or a path of a file with them, and not both."

    def _texts(self) -> list[str]:
        if self.path is None:
            return self.templates
        return read_texts(Path(self.path).expanduser(), "template")

    def settings(self) -> dict[str, Any]:
        """Like every attack's, but with the templates in place of the file they came from."""
        content = super().settings()
        del content["path"]
        return {**content, "templates": list(map(_joined, self._pool))}

    def describe(self) -> dict[str, Any]:
        """A file's templates as a hash: they are the user's and need not stand in a record."""
        content = super().describe()
        return content if self.path is None else {**content, "templates": self.fingerprint()}

    def fingerprint(self) -> str | None:
        """sha256 over a file's templates; those in the config need none."""
        return None if self.path is None else digest_of(self._pool)

    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        """The request in the best template of all generations, the plain request included."""
        search = _Search(self, self._pool, victim, request, stream_of(seed, request))
        return [search.run()]


class _Search:
    """One request's evolution."""

    def __init__(
        self,
        settings: AutoDan,
        pool: Sequence[Template],
        victim: Victim,
        request: Request,
        draw: np.random.Generator,
    ) -> None:
        self._settings, self._pool, self._victim, self._request = settings, pool, victim, request
        self._draw = draw
        target = settings.target.replace(SLOT, request.prompt)
        self._target = victim.encode_answer(target, request.style)
        self._group = {
            word.casefold(): [other.casefold() for other in group]
            for group in settings.synonyms
            for word in group
        }
        self._scores: dict[str, float] = {}
        self._known: dict[Template, float] = {}

    def run(self) -> Attempt:
        """Evolve, and give the best template ever seen."""
        settings, population = self._settings, self._first()
        start = self._fitness([(SLOT,)])[0]
        for _ in range(settings.generations):
            fitness = self._fitness(population)
            self._learn(population, fitness)
            population = self._next(population, fitness)
        self._fitness(population)
        best = max(self._known, key=lambda template: self._known[template])
        details = {
            "first_loss": -start,
            "best_loss": -self._known[best],
            "evaluated": len(self._known),
        }
        return Attempt(self._text(best), details=details)

    def _first(self) -> list[Template]:
        """The pool, filled up with mutated copies."""
        population = list(self._pool[: self._settings.population])
        while len(population) < self._settings.population:
            parent = self._pool[int(self._draw.integers(len(self._pool)))]
            population.append(self._reword(self._mutate(parent), everything=True))
        return population

    def _text(self, template: Template) -> str:
        return _joined(template).replace(SLOT, self._request.prompt)

    def _fitness(self, population: Sequence[Template]) -> list[float]:
        """Mean log-likelihood of the target per token, in nats."""
        fresh = [template for template in dict.fromkeys(population) if template not in self._known]
        if fresh:
            rows = [self._victim.encode(self._text(item), self._request) for item in fresh]
            losses = self._victim.losses(rows, self._target, self._settings.batch_size)
            self._known |= {item: -loss for item, loss in zip(fresh, losses, strict=True)}
        return [self._known[template] for template in population]

    def _learn(self, population: Sequence[Template], fitness: Sequence[float]) -> None:
        """Momentum scores of words that have synonyms: mean fitness of templates with the word."""
        seen: dict[str, list[float]] = {}
        for template, value in zip(population, fitness, strict=True):
            for word in {word.casefold() for word in _words(template)} & self._group.keys():
                seen.setdefault(word, []).append(value)
        keep = self._settings.momentum
        for word, values in seen.items():
            mean = float(np.mean(values))
            self._scores[word] = keep * self._scores.get(word, mean) + (1 - keep) * mean

    def _next(self, population: Sequence[Template], fitness: Sequence[float]) -> list[Template]:
        order = sorted(range(len(population)), key=lambda at: -fitness[at])
        chosen = [population[at] for at in order[: self._settings.elites]]
        weights = self._softmax(fitness)
        while len(chosen) < len(population):
            one, other = (
                population[at] for at in self._draw.choice(len(population), size=2, p=weights)
            )
            if self._draw.random() < self._settings.crossover:
                one, other = self._cross(one, other)
            for child in (one, other):
                if self._draw.random() < self._settings.mutation:
                    child = self._mutate(child)
                chosen.append(self._reword(child))
        return chosen[: len(population)]

    def _softmax(self, values: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.asarray(softmax(np.asarray(values) / self._settings.temperature))

    def _cross(self, one: Template, other: Template) -> tuple[Template, Template]:
        """Exchange the sentences before the request's own, or those after it."""
        at, to = _slot(one), _slot(other)
        if self._draw.random() < 0.5:
            return (*other[:to], *one[at:]), (*one[:at], *other[to:])
        return (*one[: at + 1], *other[to + 1 :]), (*other[: to + 1], *one[at + 1 :])

    def _mutate(self, template: Template) -> Template:
        """Insert a sentence of the pool, or drop one, but never the request's."""
        at = int(self._draw.integers(len(template) + 1))
        spare = [place for place in range(len(template)) if SLOT not in template[place]]
        if spare and self._draw.random() < 0.5:
            gone = spare[self._draw.integers(len(spare))]
            return (*template[:gone], *template[gone + 1 :])
        offered = [text for item in self._pool for text in item if SLOT not in text]
        if not offered:
            return template
        taken = offered[self._draw.integers(len(offered))]
        return (*template[:at], taken, *template[at:])

    def _reword(self, template: Template, *, everything: bool = False) -> Template:
        """Exchange words for synonyms, likelier for those that did better; unseen ones are average.

        Args:
            template: Its sentences.
            everything: Draw evenly, to vary the first population.
        """
        average = float(np.mean(list(self._scores.values()))) if self._scores else 0.0

        def exchange(match: re.Match[str]) -> str:
            word = match.group()
            group = self._group.get(word.casefold())
            if group is None:
                return word
            scores = [0.0 if everything else self._scores.get(item, average) for item in group]
            new = group[self._draw.choice(len(group), p=self._softmax(scores))]
            if new == word.casefold():
                return word
            return new.capitalize() if word[0].isupper() else new

        return tuple(
            SLOT.join(_WORD.sub(exchange, part) for part in sentence.split(SLOT))
            for sentence in template
        )


_WORD = re.compile(r"[A-Za-z]+")


def _words(template: Template) -> list[str]:
    return _WORD.findall(_joined(template).replace(SLOT, " "))


def _slot(template: Template) -> int:
    return next(at for at, sentence in enumerate(template) if SLOT in sentence)


def _joined(template: Template) -> str:
    return "".join(template).strip()


def split(text: str, name: str) -> Template:
    """A template's sentences, each with the blanks or line breaks that follow it.

    The last one gets a blank, for when it comes to stand before another.

    Raises:
        ConfigError: It has not exactly one ``{request}``.
    """
    if text.count(SLOT) != 1:
        raise ConfigError(f"Attack '{name}': template {text!r} needs {SLOT} exactly once.")
    parts = [*re.split(r"(?<=[.!?:])(\s+)", text.strip()), " "]
    return tuple(map("".join, zip(parts[::2], parts[1::2], strict=True)))
