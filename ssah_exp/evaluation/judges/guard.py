"""Guard models: Llama Guard and others that say ``safe`` or ``unsafe`` of a conversation.

Inan et al. 2023, arXiv 2312.06674; Llama Guard 3 and 4 by their model cards. The policy the judge
applies is in the chat template that comes with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ssah_exp.errors import ModelError
from ssah_exp.evaluation.judges.first_token import FirstTokenJudge
from ssah_exp.models.tokenizer import render_chat

_PROBE = ("first probe", "second probe")


@dataclass(kw_only=True)
class GuardJudge(FirstTokenJudge):
    """A guard model's verdict on the answer, as the last turn after its request."""

    KIND: ClassVar[str] = "guard"
    HARMFUL: ClassVar[str] = "unsafe"
    HARMLESS: ClassVar[str] = "safe"

    def _render(self, prompt: str, completion: str) -> list[int]:
        text = self._conversation(prompt, completion, parts=self._takes_parts)
        # The template has put the special tokens in.
        return list(self._loaded.tokenizer(text, add_special_tokens=False).input_ids)

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether the template wants content as a list of parts, as multimodal guards' do.

        Raises:
            ModelError: The template shows request and answer in neither form.
        """
        for parts in (False, True):
            try:
                text = self._conversation(*_PROBE, parts=parts)
            except Exception:  # noqa: S112  # a template may fail in any way on the wrong form
                continue
            # A template for plain text would print a list with its brackets.
            as_list = parts and any(repr(_parts(probe)) in text for probe in _PROBE)
            if all(probe in text for probe in _PROBE) and not as_list:
                return parts
        raise ModelError(
            f"{self.who}: the tokenizer has no chat template that shows both request and "
            "answer; a guard model's does, and its policy stands in it."
        )

    def _conversation(self, prompt: str, completion: str, *, parts: bool) -> str:
        turns: list[dict[str, Any]] = [
            {"role": "user", "content": _parts(prompt) if parts else prompt},
            {"role": "assistant", "content": _parts(completion) if parts else completion},
        ]
        return render_chat(self._loaded.tokenizer, turns)


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]
