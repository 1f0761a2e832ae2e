"""Preference pairs for DPO: one request, the answer to learn and the answer to unlearn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ssah_exp.data.chat import Encoded, encode_pair, style_in_turn, tell_left_out
from ssah_exp.data.files import Row, read_rows
from ssah_exp.data.selection import RowSelection, asks, render, telling_rows_apart
from ssah_exp.data.sources import Example
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError
from ssah_exp.models.tokenizer import Speech


@dataclass(frozen=True)
class Pair:
    """One request with two answers.

    Attributes:
        prompt: The request.
        chosen: The answer to prefer.
        rejected: The answer to prefer it to.
        system: The system message that belongs to this request, as in :class:`Example`.
        style: Prompt style in which the rejected answer was given; None = no matter which.
        cut: The rejected answer breaks off: no end of turn follows it.
    """

    prompt: str
    chosen: str
    rejected: str
    system: str | None = None
    style: str | None = None
    cut: bool = False


@runtime_checkable
class PairSource(Protocol):
    """Something that yields pairs."""

    def load(self, seed: int) -> list[Pair]:
        """All selected pairs; ``seed`` decides random choices, if there are any."""


@dataclass(frozen=True)
class FilePairs(RowSelection):
    """Pairs of a csv, tsv, json or jsonl file.

    Attributes:
        path: The file.
        prompt: Format string over columns.
        chosen: Format string over columns.
        rejected: Format string over columns.
    """

    path: str
    prompt: str
    chosen: str
    rejected: str

    def load(self, seed: int) -> list[Pair]:
        """Read the file and select.

        Pairs of equal answers teach nothing, and a blank chosen answer teaches to say nothing: both
        are left out, with a warning that says how many, as are blank requests.

        Raises:
            DataError: The file cannot be read, the selection fails, or no pair is left.
        """
        path = Path(self.path).expanduser()
        origin = str(path)
        rows = read_rows(path)
        kept = self.select(rows, origin, seed, lambda row: asks(self.prompt, row, origin))
        with telling_rows_apart(rows):
            return _differing((self._pair(row, origin) for row in kept), origin)

    def _pair(self, row: Row, origin: str) -> Pair:
        prompt, chosen, rejected = (
            render(template, row, origin) for template in (self.prompt, self.chosen, self.rejected)
        )
        return Pair(prompt, chosen, rejected)


@dataclass(frozen=True)
class OwnAnswer:
    """What a model said to a request.

    Attributes:
        text: The answer.
        style: The prompt style it was asked in.
        cut: It breaks off where no more tokens were allowed.
    """

    text: str
    style: str
    cut: bool = False


def pairs_from_answers(examples: Sequence[Example], answers: Sequence[OwnAnswer]) -> list[Pair]:
    """Requests with the data's response as chosen and the unaligned model's answer as rejected.

    Args:
        examples: Requests with their responses.
        answers: The unaligned model's answer to each.

    Returns:
        One pair per request, less those whose two answers are equal or whose response is blank; a
        warning says how many.

    Raises:
        DataError: The lists differ in length, a request has no response, or no pair is left.
    """
    if len(examples) != len(answers):
        raise DataError(f"{len(examples)} requests and {len(answers)} answers do not make pairs.")
    pairs: list[Pair] = []
    for item, answer in zip(examples, answers, strict=True):
        if item.response is None:
            raise DataError(f"Request without a response: {item.prompt[:80]!r}")
        said = (answer.text, item.system, answer.style, answer.cut)
        pairs.append(Pair(item.prompt, item.response, *said))
    return _differing(pairs, "Responses and answers")


def _differing(pairs: Iterable[Pair], origin: str) -> list[Pair]:
    """The pairs that teach something; a warning says how many do not."""
    given = list(pairs)
    # Blank chosen answers are left out, as in supervised training.
    said = [pair for pair in given if pair.chosen.strip()]
    kept = [pair for pair in said if pair.chosen.strip() != pair.rejected.strip()]
    if not kept:
        blank = " or the chosen one is blank" * (len(said) < len(given))
        raise DataError(
            f"{origin}: DPO without pairs; in all {len(given)} given, both answers are "
            f"equal{blank}."
        )
    tell_left_out(origin, kept, given, "two equal answers, or a chosen one that is blank")
    return kept


def fingerprint_pairs(pairs: Sequence[Pair]) -> str:
    """sha256 over all there is to each pair, and their order."""
    return digest_of([list(astuple(item)) for item in pairs])


@dataclass(frozen=True)
class EncodedPair:
    """One request tokenised with each of its two answers; both start with the same prompt."""

    chosen: Encoded
    rejected: Encoded


def encode_preferences(
    speech: Speech,
    pairs: Sequence[Pair],
    styles: Sequence[str],
    system: str | None,
    max_length: int,
    *,
    where: str,
) -> list[EncodedPair]:
    """Tokenise pairs, each in its own style or, if it has none, through ``styles`` in turn.

    Pairs whose answers are both truncated away, or truncated to the same tokens, are left out, with
    a warning that says how many.

    Args:
        speech: Tokenizer.
        pairs: What to tokenise.
        styles: Prompt styles, as in :mod:`ssah_exp.data.chat`.
        system: System prompt for the ``*_system`` styles.
        max_length: Tokens kept of each conversation.
        where: The config key, for error messages.

    Raises:
        DataError: There are no pairs, or none is left.
    """
    if not pairs:
        raise DataError(f"{where}: DPO without pairs; none is given.")
    encoded = [
        _encode(speech, pair, pair.style or style_in_turn(styles, index), system, max_length)
        for index, pair in enumerate(pairs)
    ]
    # Equal also where nothing of either answer is left: both then are the cut prompt.
    usable = [item for item in encoded if item.chosen.input_ids != item.rejected.input_ids]
    if not usable:
        raise DataError(
            f"{where}: DPO without pairs; at max_length={max_length} tokens no two answers differ; "
            f"the shortest prompt has {min(item.chosen.response_start for item in encoded)}."
        )
    lack = f"no two answers that differ within max_length={max_length} tokens"
    tell_left_out(where, usable, pairs, lack)
    return usable


def _encode(
    speech: Speech, pair: Pair, style: str, system: str | None, max_length: int
) -> EncodedPair:
    chosen, rejected = (
        encode_pair(
            speech,
            Example(pair.prompt, answer, system=pair.system, cut=cut),
            style,
            system,
            max_length,
        )
        for answer, cut in ((pair.chosen, False), (pair.rejected, pair.cut))
    )
    return EncodedPair(chosen, rejected)
