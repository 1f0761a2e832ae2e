"""Prefill: the first tokens of the answer are given, and the model goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks.base import Attack, Attempt
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim


@dataclass(kw_only=True)
class Prefill(Attack):
    """Gives the answer's beginning.

    Attributes:
        text: The beginning, compliant ("Sure, here is") or, as a control, refusing.
        tokens: How many of its tokens are given, from the first; None = all.
    """

    text: str
    tokens: int | None = None

    SEARCHES: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a beginning that is none."""
        if not self.text.strip():
            raise ConfigError(f"Attack '{self.name}': text is empty.")
        if self.tokens is not None and self.tokens < 1:
            raise ConfigError(f"Attack '{self.name}': tokens={self.tokens} is below 1.")

    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        """The request as it is, and the beginning of its answer."""
        return [Attempt(request.prompt, self._beginning(victim))]

    def _beginning(self, victim: Victim) -> str:
        tokenizer = victim.speech.tokenizer
        ids = list(tokenizer(self.text, add_special_tokens=False).input_ids)
        if self.tokens is not None and self.tokens > len(ids):
            raise ConfigError(
                f"Attack '{self.name}': tokens={self.tokens}, but {self.text!r} has {len(ids)}."
            )
        if self.tokens is None or self.tokens == len(ids):
            return self.text
        return str(tokenizer.decode(ids[: self.tokens]))
