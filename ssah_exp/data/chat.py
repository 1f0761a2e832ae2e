"""Prompt styles, and encoded conversations that know where the response starts.

``raw`` gives the request as plain text without chat tags, as the paper's Table 1 does (protocol
section 3); ``raw_system`` puts a system prompt between ``<<SYS>>`` tags before it; ``chat`` and
``chat_system`` use the tokenizer's chat template, or the config's in its place.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence, Sized
from dataclasses import dataclass

from ssah_exp import ranks
from ssah_exp.data.sources import Example
from ssah_exp.errors import DataError, SsahWarning
from ssah_exp.models.tokenizer import Speech, answer_opening, render_chat


@dataclass(frozen=True)
class Encoded:
    """One tokenised conversation.

    Attributes:
        input_ids: Prompt, response and, unless that breaks off or is truncated, end of turn.
        response_start: Index of the first response token.
    """

    input_ids: tuple[int, ...]
    response_start: int

    @property
    def response_length(self) -> int:
        """Response tokens, the end of turn included."""
        return len(self.input_ids) - self.response_start


def encode_answer(speech: Speech, answer: str, style: str) -> list[int]:
    """Tokens of an answer, or of its beginning, as they follow a prompt in ``style``.

    A raw prompt does not end its line; the answer begins a new one. A chat template opens the
    answer, and may put a blank before it (Llama 2).
    """
    if style in ("raw", "raw_system"):
        return _tokens_after(speech, "a", f"\n{answer}")
    if not speech.tokenizer.chat_template:
        return _tokens(speech, answer)
    opening, between = answer_opening(speech.tokenizer)
    return _tokens_after(speech, opening, f"{between}{answer}", alone=answer)


def _tokens_after(speech: Speech, before: str, text: str, alone: str | None = None) -> list[int]:
    """Tokens of ``text`` after ``before``; where the two merge, of ``alone``, or ``text``, itself.

    SentencePiece (Llama 2, Mistral) begins whatever it is given with a blank, as if it were a text
    of its own: an answer on a new line would begin with one that no model puts there.
    """
    known, whole = _tokens(speech, before), _tokens(speech, before + text)
    if whole[: len(known)] == known:
        return whole[len(known) :]
    return _tokens(speech, text if alone is None else alone)


def _tokens(speech: Speech, text: str) -> list[int]:
    return list(speech.tokenizer(text, add_special_tokens=False).input_ids)


def encode_request(speech: Speech, example: Example, style: str, system: str | None) -> list[int]:
    """Tokens of an example's request, ready for an answer.

    An example's own system message goes where the ``*_system`` form of ``style`` puts one, in
    place of ``system``. All requests are tokenised here, so that none loses its message.

    Args:
        speech: Tokenizer.
        example: The request; its response is not read.
        style: ``raw``, ``raw_system``, ``chat`` or ``chat_system``.
        system: System prompt for the ``*_system`` styles.

    Raises:
        DataError: A chat style without a chat template, or a system style without system prompt.
        ModelError: The chat template does not take these turns, e.g. a system message.
    """
    if example.system is not None:
        style, system = f"{style.removesuffix('_system')}_system", example.system
    return _encode_prompt(speech, example.prompt, style, system)


def _encode_prompt(speech: Speech, prompt: str, style: str, system: str | None) -> list[int]:
    if style.endswith("_system") and not system:
        raise DataError(f"Prompt style '{style}' needs a system prompt.")
    if style in ("raw", "raw_system"):
        text = prompt if style == "raw" else f"<<SYS>>\n{system}\n<</SYS>>\n\n{prompt}"
        return list(speech.tokenizer(text).input_ids)
    if not speech.tokenizer.chat_template:
        raise DataError(
            f"Prompt style '{style}' needs a chat template; this tokenizer has none. Give one "
            "(chat_template=alpaca, say), or a raw style wherever the config has a chat style: "
            "alignment.prompt_styles, units.prompt_style, evaluation.benign_style, and so on."
        )
    turns = [{"role": "user", "content": prompt}]
    if style == "chat_system":
        turns.insert(0, {"role": "system", "content": str(system)})
    return _tokens(speech, render_chat(speech.tokenizer, turns))


def encode_pair(
    speech: Speech,
    example: Example,
    style: str,
    system: str | None,
    max_length: int,
) -> Encoded:
    """Tokenise a request with its response; what exceeds ``max_length`` is cut at the end.

    No end of turn follows a response that breaks off.

    Raises:
        DataError: The example has no response, or as :func:`encode_request`.
        ModelError: As :func:`encode_request`.
    """
    if example.response is None:
        raise DataError(
            f"An example to train or calibrate on has no response: {example.prompt[:80]!r}. Name "
            'the column of answers in its source: response: "{COLUMN}".'
        )
    prompt = encode_request(speech, example, style, system)
    answer = encode_answer(speech, example.response, style)
    end = [] if example.cut else [speech.end_of_turn]
    return Encoded(tuple([*prompt, *answer, *end][:max_length]), len(prompt))


def style_in_turn(styles: Sequence[str], index: int) -> str:
    """The prompt style of the ``index``-th example of a set: styles take turns.

    Whatever trains on a set, or answers it beforehand, must give each example the same style.
    """
    return styles[index % len(styles)]


def encode_pairs(
    speech: Speech,
    examples: Sequence[Example],
    styles: Sequence[str],
    system: str | None,
    max_length: int,
    *,
    where: str,
    at_least: int = 1,
) -> list[Encoded]:
    """Tokenise a training or calibration set, example by example through ``styles`` in turn.

    Examples whose response is blank (Alpaca has such) or truncated away entirely are left out:
    they would teach to say nothing. A warning says how many.

    Raises:
        DataError: There are no examples, or fewer than ``at_least`` are left; messages begin with
            ``where``, the config key. Also as :func:`encode_pair`.
        ModelError: As :func:`encode_pair`.
    """
    if not examples:
        raise DataError(f"{where} holds no examples.")
    encoded = [
        encode_pair(speech, example, style_in_turn(styles, index), system, max_length)
        for index, example in enumerate(examples)
        if example.response is None or example.response.strip()
    ]
    if not encoded:
        raise DataError(f"{where}: every response is blank.")
    usable = [item for item in encoded if item.response_length > 0]
    if not usable:
        raise DataError(
            f"{where}: every response is truncated away at max_length={max_length} tokens; the "
            f"shortest prompt has {min(item.response_start for item in encoded)}."
        )
    if len(usable) < at_least:
        raise DataError(
            f"{where}: of {len(examples)} examples, {len(usable)} have a response that is not "
            f"blank and begins within max_length={max_length} tokens; {at_least} are needed."
        )
    tell_left_out(where, usable, examples, f"no response within max_length={max_length} tokens")
    return usable


def tell_left_out(where: str, used: Sized, given: Sized, have: str) -> None:
    """Warn, once for all ranks, of examples that are not used; of none, say nothing.

    Args:
        where: The config key or file they come from.
        used: Those that are used.
        given: All of them.
        have: What the others have, or lack: it follows "which have".
    """
    if (left := len(given) - len(used)) and ranks.first():
        warnings.warn(
            f"{where}: {left} of {len(given)} examples are left out, which have {have}.",
            SsahWarning,
            stacklevel=3,
        )
