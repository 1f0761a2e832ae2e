"""The attacker of PAIR: a language model that rewords requests, behind an endpoint or local."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ssah_exp.appended import AppendedLines
from ssah_exp.config.ranges import at_least, refuse
from ssah_exp.digest import digest_of
from ssah_exp.errors import JudgeError, ModelError
from ssah_exp.evaluation.asked_endpoint import (
    Budget,
    DeclinedError,
    Endpoint,
    OverBudgetError,
    PassingError,
)
from ssah_exp.models.companion import Companion
from ssah_exp.models.tokenizer import answer_stops, render_chat

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Turn = Mapping[str, str]
# How errors end that end a search with an attacker or judge behind an endpoint.
GO_ON = (
    "Attempts already found are kept; run the same command again to go on, with a higher "
    "max_requests if that is spent."
)
# Raised when a local attacker says something else to the same conversation and seed.
_REPLIES_VERSION = 2


class Partner(ABC):
    """Answers conversations."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that decides what it says."""

    @abstractmethod
    def reply(self, turns: Sequence[Turn], seed: int) -> str | None:
        """What it says next; None if it gives no answer to this conversation.

        Raises:
            SsahError: It cannot answer at all.
        """

    def fingerprint(self) -> str | None:
        """Hash of local weights; None for a partner that has none."""
        return None

    def keep_in(self, root: Path) -> None:  # noqa: B027  # not all have something to keep
        """Keep converted weights, or the count of requests, in the cache below ``root``."""


@dataclass(kw_only=True)
class EndpointPartner(Endpoint, Partner):
    """Any OpenAI-compatible ``/chat/completions``.

    Attributes:
        send_seed: Send a ``seed`` with each request; not every endpoint takes or honours one.
    """

    options: dict[str, Any] = field(default_factory=lambda: {"temperature": 1, "max_tokens": 512})
    send_seed: bool = True
    _spent: AppendedLines | None = field(init=False, repr=False, compare=False, default=None)
    _answered: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        self.refuse_useless("Attacker")

    def settings(self) -> dict[str, Any]:
        """Who is asked, and with what options."""
        return {**self.asked(), "send_seed": self.send_seed}

    def keep_in(self, root: Path) -> None:
        """Count requests, where they are limited, in a file below ``root``."""
        name = f"{digest_of(self.settings())[:16]}.requests"
        self._spent = AppendedLines(root / "cache" / "attackers" / name)

    @cached_property
    def _budget(self) -> Budget:
        return Budget(self.max_requests, self._spent)

    def reply(self, turns: Sequence[Turn], seed: int) -> str | None:
        """The endpoint's answer; None if it declines this conversation or says nothing.

        Raises:
            JudgeError: The endpoint is down or may decline whatever it is asked, or the budget is
                spent: a search that went on with what it has would be recorded as a weaker attack
                than it is.
        """
        body = {"model": self.model, "messages": list(turns), **self.options}
        if self.send_seed:
            body["seed"] = seed
        with closing(self.client(self._budget, "Attacker")) as client:
            try:
                message = client.ask(body)["choices"][0]["message"]
            except DeclinedError as error:
                if not error.of_content(self._answered):
                    raise JudgeError(
                        f"Attacker {self.base_url}: {error}, and no content filter is named: look "
                        f"at the key's rights and at options. {GO_ON}"
                    ) from error
                return None
            except (PassingError, OverBudgetError) as error:
                raise JudgeError(f"Attacker {self.base_url}: {error}. {GO_ON}") from error
        self._answered = True
        text = message["content"]
        return client.redact(text) if text else None


@dataclass(kw_only=True)
class LocalPartner(Companion, Partner):
    """A chat model on this machine, with a chat template.

    Attributes:
        temperature: Sampling temperature; 0 = greedy.
        max_new_tokens: Longest reply.
    """

    temperature: float = 1.0
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, all at once."""
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        yield from self.companion_problems("Attacker")
        yield from at_least("Attacker: max_new_tokens", self.max_new_tokens, 1)
        yield from at_least("Attacker: temperature", self.temperature, 0)

    def settings(self) -> dict[str, Any]:
        """Weights and decoding."""
        return {
            "kind": "local",
            "weights": self.fingerprint(),
            "precision": self.precision,
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "version": _REPLIES_VERSION,
        }

    def keep_in(self, root: Path) -> None:
        """Keep converted weights in the cache below ``root``."""
        self.convert_in(root)

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[int]]:
        from transformers import GenerationConfig

        model, tokenizer = self.load_companion("The attacker")
        if not tokenizer.chat_template:
            raise ModelError("The attacker has no chat template.")
        stops = answer_stops(tokenizer, model.generation_config.eos_token_id)
        # The model's own config would fill in what a call leaves out: penalties, or a top-k.
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        return model, tokenizer, stops

    @torch.inference_mode()
    def reply(self, turns: Sequence[Turn], seed: int) -> str | None:
        """The model's reply, None if empty; sampling leaves the caller's random state alone."""
        model, tokenizer, stops = self._loaded
        text = render_chat(tokenizer, turns)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        ids = ids.to(next(model.parameters()).device)
        sampling = {"temperature": self.temperature, "top_k": 0} if self.temperature else {}
        with torch.random.fork_rng(devices=[ids.device] if ids.is_cuda else []):
            torch.manual_seed(seed)
            output = model.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=self.temperature > 0,
                max_new_tokens=self.max_new_tokens,
                eos_token_id=stops,
                pad_token_id=tokenizer.pad_token_id or 0,
                **sampling,
            )
        said = str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)).strip()
        return said or None
