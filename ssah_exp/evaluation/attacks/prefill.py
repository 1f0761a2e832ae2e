"""Prefill: the first tokens of the answer are given, and the model goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ssah_exp.config.ranges import at_least
from ssah_exp.digest import digest_of
from ssah_exp.errors import ConfigError
from ssah_exp.evaluation.attacks.base import Attack, Attempt
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim
from ssah_exp.models.tokenizer import Speech

_HALF = "\ufffd"  # what decoding makes of bytes that are no whole character


@dataclass(kw_only=True)
class Prefill(Attack):
    """Gives the answer's beginning.

    Attributes:
        text: The beginning, compliant ("Sure, here is") or, as a control, refusing.
        tokens: How many tokens of ``text`` are given, from the first; None = all.
    """

    text: str
    tokens: int | None = None

    SEARCHES: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a blank beginning, and fewer than one token of it."""
        blank = [] if self.text.strip() else ["text is empty."]
        self.refuse([*blank, *at_least("tokens", self.tokens, 1)])

    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        """The request as it is, and the beginning of its answer."""
        return [Attempt(request.prompt, self._beginning(victim.speech))]

    def tokenized(self, speech: Speech) -> dict[str, Any]:
        """The beginning, if it is cut by tokens, which differ between models."""
        return {} if self.tokens is None else {"beginning": digest_of(self._beginning(speech))}

    def _beginning(self, speech: Speech) -> str:
        tokenizer = speech.tokenizer
        ids = list(tokenizer(self.text, add_special_tokens=False).input_ids)
        if self.tokens is not None and self.tokens > len(ids):
            raise ConfigError(
                f"Attack '{self.name}': tokens={self.tokens}, but {self.text!r} has {len(ids)}."
            )
        if self.tokens is None or self.tokens == len(ids):
            return self.text
        beginning = str(tokenizer.decode(ids[: self.tokens]))
        if _HALF in beginning and _HALF not in self.text:
            raise ConfigError(
                f"Attack '{self.name}': tokens={self.tokens} cuts {self.text!r} within a character."
            )
        return beginning
