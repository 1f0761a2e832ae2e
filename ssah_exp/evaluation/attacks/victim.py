"""The model under attack: what it says to a text, and how likely it finds an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ssah_exp.data.batching import longest_first
from ssah_exp.data.chat import Encoded, encode_answer, encode_request
from ssah_exp.data.loaders import Collate
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.logits import token_losses
from ssah_exp.models.tokenizer import Speech

Row = Sequence[int]
_WORST = 1e6  # nats per token: what a loss that overflowed counts as in a search


@dataclass(frozen=True)
class Victim:
    """A loaded model, with whatever hooks and adapters it carries now.

    Attributes:
        speech: Its tokenizer.
        load: Gives model and tokenizer; only attacks that search may call it.
        system: System prompt of the ``*_system`` styles, for requests without one of their own.
        decoding: How it answers while an attack searches.
    """

    speech: Speech
    load: Callable[[], LoadedModel]
    system: str
    decoding: Decoding

    @classmethod
    def of(cls, loaded: LoadedModel, system: str, decoding: Decoding) -> Victim:
        """A model that is loaded already."""
        return cls(loaded.speech, lambda: loaded, system, decoding)

    @property
    def loaded(self) -> LoadedModel:
        """Model and tokenizer.

        Raises:
            ConfigError: The attack was to need no model.
        """
        return self.load()

    def encode(self, text: str, request: Request) -> list[int]:
        """Token ids of the request with ``text`` as the user's turn, ready for an answer."""
        return encode_request(self.speech, request.put(text), request.style, self.system)

    def encode_answer(self, text: str, style: str) -> list[int]:
        """Token ids of an answer, or of its beginning."""
        return encode_answer(self.speech, text, style)

    def answers(self, texts: Sequence[str], request: Request) -> list[str]:
        """Greedy answers to the request with each of ``texts`` as the user's turn."""
        prompts = [Prompt(tuple(self.encode(text, request)), request.style) for text in texts]
        return generate(self.loaded, prompts, self.decoding)

    def losses(self, prompts: Sequence[Row], target: Row, batch_size: int) -> list[float]:
        """How unlikely the target is as the beginning of the answer to each prompt.

        Args:
            prompts: Token ids, of any lengths.
            target: Token ids.
            batch_size: Prompts per forward pass; changes no loss beyond rounding.

        Returns:
            Mean negative log-likelihood of the target's tokens in nats, one per prompt; a million
            where it is not finite, as a destroyed model's may be.
        """
        found = [0.0] * len(prompts)
        for batch in longest_first(prompts, batch_size):
            losses = self._losses([prompts[at] for at in batch], target).tolist()
            for at, loss in zip(batch, losses, strict=True):
                found[at] = loss
        return found

    @torch.inference_mode()
    def _losses(self, prompts: Sequence[Row], target: Row) -> torch.Tensor:
        """``(B,)`` float64."""
        rows = [Encoded((*prompt, *target), len(prompt)) for prompt in prompts]
        batch = Collate(self.speech.pad_id)(rows).to(self.loaded.device)
        losses = token_losses(
            self.loaded.model, batch.input_ids, batch.attention_mask, batch.response_mask
        )
        means = losses.double().view(len(rows), len(target)).mean(1).cpu()
        return means.nan_to_num(nan=_WORST, posinf=_WORST)
