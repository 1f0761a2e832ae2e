"""The one interface of all attacks: a model and a request in, ways to put the request out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ssah_exp.config.ranges import refuse
from ssah_exp.digest import digest_of
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim
from ssah_exp.models.tokenizer import Speech

# Fields that decide how fast an attack is, not what it finds.
SPEED = ("batch_size",)


@dataclass(frozen=True)
class Attempt:
    """One way of putting a request.

    Attributes:
        text: The user's turn.
        prefill: What the answer begins with; empty = the model begins it itself.
        details: JSON values a person may want to look up: losses, steps.
    """

    text: str
    prefill: str = ""
    details: dict[str, Any] | None = None


@dataclass(kw_only=True)
class Attack(ABC):
    """Makes attempts, request by request.

    Attempts depend on the request, the model, the settings and the seed, but not on other requests
    or their order: a search that was killed goes on with the next request.

    Attributes:
        name: As in tables.
        source: Where the method was published.
    """

    name: str
    source: str = ""

    VERSION: ClassVar[int] = 1  # raised when the same settings would find other attempts
    # Looks at the model, so that each arm has its own attempts; without it all arms share those of
    # a seed (this package's draw nothing then, and all seeds share theirs).
    SEARCHES: ClassVar[bool] = True

    @abstractmethod
    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        """At least one attempt; their number is the same for every request.

        Args:
            victim: The model under attack, with whatever is ablated in or attached to it.
            request: What to get answered.
            seed: The run's seed.

        Raises:
            SsahError: The attack cannot work at all.
        """

    def refuse(self, problems: Iterable[str]) -> None:
        """Refuse settings, all at once.

        Args:
            problems: A sentence for each; the attack's name is put in front.

        Raises:
            ConfigError: There are any.
        """
        refuse(f"Attack '{self.name}': {text}" for text in problems)

    def settings(self) -> dict[str, Any]:
        """Everything that decides the attempts, and nothing else."""
        content = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {
            key: value
            for key, value in content.items()
            if key not in ("name", "source", *SPEED) and not key.startswith("_")
        }
        return {"kind": type(self).__name__, "version": self.VERSION, **plain}

    def describe(self) -> dict[str, Any]:
        """Name, source and settings, for the record."""
        return {"name": self.name, "source": self.source, **self.settings()}

    def tokenized(self, speech: Speech) -> dict[str, Any]:
        """What a tokenizer makes of the settings, where attempts depend on it; for cache keys.

        Only attacks that do not look at the model need it: for others, the model's weights and
        tokenizer are part of the key.

        Raises:
            ConfigError: The settings do not fit this tokenizer.
        """
        return {}

    def fingerprint(self) -> str | None:
        """Hash of the files that the attack reads; None if it reads none."""
        return None

    def keep_in(self, root: Path) -> None:  # noqa: B027  # most attacks have nothing to keep
        """Keep what costs money or time, e.g. judgements, in the cache below ``root``."""


def stream_of(seed: int, request: Request) -> np.random.Generator:
    """A stream of random numbers that belongs to one request."""
    return np.random.default_rng([seed, int(digest_of(request.as_dict())[:16], 16)])
