"""Tokenizers are checked before use: a wrong pad or end-of-turn token spoils results silently."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ssah_exp.digest import digest_of
from ssah_exp.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some templates write today's date into the prompt (Llama 3.2, SmolLM3, Granite). Under one run id
# prompts would then change from day to day; this date is Llama 3.1's default.
_TODAY = date(2024, 7, 26)
# Qwen3 and SmolLM3 would think aloud before they answer: judges would read thoughts that the token
# limit cuts off, and calibration answers would come without the thoughts the model expects.
_TOLD: dict[str, Any] = {"enable_thinking": False}
_REQUEST = {"role": "user", "content": "a"}  # any text: only what a template puts around it matters
_ASKS_THE_DATE = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")


@dataclass(frozen=True)
class Speech:
    """A tokenizer with its special tokens resolved.

    Attributes:
        tokenizer: The transformers tokenizer; its pad token is set.
        end_of_turn: Id of the token that closes an assistant turn.
        stop_ids: Ids that end generation: the end of turn, the tokenizer's eos and what else the
            model's own generation config names.
        pad_id: Id used for padding.
    """

    tokenizer: PreTrainedTokenizerBase
    end_of_turn: int
    stop_ids: tuple[int, ...]
    pad_id: int

    @property
    def template_hash(self) -> str:
        """sha256 over the chat template, as it is rendered, and the special tokens."""
        template = _dated(str(self.tokenizer.chat_template))
        told: dict[str, Any] = {name: value for name, value in _TOLD.items() if name in template}
        if not self.tokenizer.chat_template:  # else the template decides which stop ends a turn
            told["end_of_turn"] = self.end_of_turn
        return digest_of(
            {"template": template, "stop": list(self.stop_ids), "pad": self.pad_id, **told}
        )


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    end_of_turn: str,
    pad_token: str | None,
    stops: Collection[int] = (),
) -> Speech:
    """Resolve special tokens, refusing to guess.

    Args:
        tokenizer: As loaded; its pad token is set in place if it has none, and its decoding is told
            to give texts as they are.
        end_of_turn: Token text that closes a turn in its chat template.
        pad_token: Token text to pad with if the tokenizer names none.
        stops: Further ids that end an answer.

    Raises:
        ModelError: A token is not in the vocabulary, there is no pad token, an answer in the chat
            template is followed by another token than ``end_of_turn``, or the tokenizer ends every
            text.
    """
    refuse_appended(tokenizer)
    # Llama 3's asks for " !" to become "!". Transformers 5.0 does so, which changes answers, and no
    # suffix of GCG's with such a token in it survives its spelling; later ones refuse to.
    tokenizer.clean_up_tokenization_spaces = False
    end_id = _token_id(tokenizer, end_of_turn, "model.end_of_turn")
    if tokenizer.pad_token_id is None:
        if pad_token is None:
            raise ModelError(
                "The tokenizer has no pad token. Set model.pad_token to a token of its "
                "vocabulary that never carries meaning (for many models, their eos token)."
            )
        _token_id(tokenizer, pad_token, "model.pad_token")
        tokenizer.pad_token = pad_token
    if isinstance(tokenizer.chat_template, str):
        follows = _after_an_answer(tokenizer)
        if not follows.startswith(end_of_turn):
            raise ModelError(
                f"model.end_of_turn={end_of_turn} does not close an assistant turn in this "
                f"tokenizer's chat template: {follows!r} does."
            )
    ends = {end_id, *stops}
    if tokenizer.eos_token_id is not None:
        ends.add(int(tokenizer.eos_token_id))
    return Speech(tokenizer, end_id, tuple(sorted(ends)), int(tokenizer.pad_token_id))


def refuse_appended(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that ends every text: a raw prompt would be continued after its end.

    Raises:
        ModelError: It appends a token to what it is given, as with ``add_eos_token``.
    """
    last = tokenizer("a").input_ids[-1:]
    if last != tokenizer("a", add_special_tokens=False).input_ids[-1:]:
        raise ModelError(
            f"The tokenizer ends every text with {tokenizer.decode(last)!r}, so prompts would be "
            "continued after their end. Set add_eos_token to false in its tokenizer_config.json, "
            "or take the end out of its post-processor."
        )


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Mapping[str, Any]],
    *,
    answer_next: bool = True,
) -> str:
    """The text of a conversation in the tokenizer's chat template.

    A template that asks for today's date is always told the same day; one that can switch thinking
    aloud off is told to.

    Args:
        tokenizer: One with a chat template.
        turns: Messages with ``role`` and ``content``.
        answer_next: Whether to end with what opens the next answer.

    Raises:
        ModelError: The template fails on these turns; many know no system role.
    """
    template = _dated(tokenizer.get_chat_template())
    try:
        text = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=answer_next,
            **_TOLD,
        )
    except Exception as error:  # it is a program of somebody's, and may fail in any way
        roles = [str(turn["role"]) for turn in turns]
        hint = " Use no style with a system prompt, and no system messages." * ("system" in roles)
        raise ModelError(
            f"The chat template does not take the turns {', '.join(roles)}: {error}.{hint}"
        ) from error
    return str(text)


def answer_stops(
    tokenizer: PreTrainedTokenizerBase, named: int | Sequence[int] | None
) -> list[int]:
    """Ids that end an answer of a model for which no config of ours names an end of turn.

    Args:
        tokenizer: One with a chat template; its end of text and its end of turn are among the ids.
        named: End-of-text ids of the model's generation config.
    """
    given = [named] if isinstance(named, int) else list(named or ())
    behind = tokenizer(_after_an_answer(tokenizer), add_special_tokens=False).input_ids[:1]
    closing = [token for token in behind if token in tokenizer.added_tokens_decoder]
    ends = [*given, *closing, tokenizer.eos_token_id]
    return sorted({int(token) for token in ends if token is not None})


def answer_opening(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """What a chat template writes before an answer: the prompt, and what stands between the two.

    The second is empty for most templates and a blank for Llama 2's.
    """
    return _opening(tokenizer, tokenizer.get_chat_template())


@lru_cache(maxsize=8)  # called for every answer of a training set; a template may be replaced
def _opening(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[str, str]:
    prompt = render_chat(tokenizer, [_REQUEST])
    before, _ = _around_an_answer(tokenizer)
    between = before.removeprefix(prompt)
    return prompt, between if before.startswith(prompt) and not between.strip() else ""


def _dated(template: str) -> str:
    """The template with one fixed date in place of every call for today's."""
    return _ASKS_THE_DATE.sub(lambda call: repr(_TODAY.strftime(call[2])), template)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str, key: str) -> int:
    if token not in tokenizer.get_vocab():
        raise ModelError(f"{key}={token} is not a token of this tokenizer's vocabulary.")
    return int(tokenizer.get_vocab()[token])


def _after_an_answer(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template puts after an answer; its last token may end the whole text (Phi-3)."""
    return _around_an_answer(tokenizer)[1].strip()


def _around_an_answer(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """The text of a conversation with one answer, before the answer and after it."""
    answer = "some answer"
    turns = [_REQUEST, {"role": "assistant", "content": answer}]
    before, _, behind = render_chat(tokenizer, turns, answer_next=False).rpartition(answer)
    return before, behind
