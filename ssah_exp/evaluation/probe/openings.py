"""What follows a request before the model goes on, and random twins as the null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssah_exp.data.chat import encode_answer
from ssah_exp.errors import DataError
from ssah_exp.evaluation.probe.names import KINDS
from ssah_exp.models.tokenizer import Speech


@dataclass(frozen=True)
class Opening:
    """The first tokens of an answer, for every request.

    Attributes:
        kind: ``benign`` (a refusal begins) or ``malicious`` (a compliant answer begins).
        null: Whether this is the random twin of an opening of that kind.
        ids: ``(requests, length)`` token ids; a twin has other tokens for every request.
    """

    kind: str
    null: bool
    ids: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        """``benign``, ``malicious``, ``null_benign`` or ``null_malicious``."""
        return f"null_{self.kind}" if self.null else self.kind


def encode_openings(
    speech: Speech, texts: Mapping[str, Sequence[str]], style: str, requests: int
) -> list[Opening]:
    """Tokenise openings as an answer's first tokens, benign ones first.

    Args:
        speech: Tokenizer.
        texts: Kind -> texts.
        style: Prompt style; answers to raw prompts begin on a new line, as in training.
        requests: How many requests the openings follow.

    Raises:
        DataError: An opening has no tokens.
    """
    openings: list[Opening] = []
    for kind in KINDS:
        for text in texts[kind]:
            ids = tuple(encode_answer(speech, text, style))
            if not ids:
                raise DataError(f"probe.{kind}: the opening {text!r} has no tokens.")
            openings.append(Opening(kind, False, (ids,) * requests))
    return openings


def random_twins(openings: Sequence[Opening], pool: Sequence[int], seed: int) -> list[Opening]:
    """For every opening and every request, draw a random span of ``pool`` of the opening's length.

    A twin takes the same place and as many tokens but says nothing about the request: the distance
    of its continuation from the bare request's is what any interruption of that length causes.

    Args:
        openings: The real ones.
        pool: Token ids of running text.
        seed: Decides every draw.

    Raises:
        DataError: The pool is shorter than an opening.
    """
    draw = np.random.default_rng(seed)
    twins: list[Opening] = []
    for opening in openings:
        length = len(opening.ids[0])
        if len(pool) < length:
            raise DataError(f"data.text has {len(pool)} tokens; an opening has {length}.")
        starts = draw.integers(0, len(pool) - length + 1, size=len(opening.ids))
        spans = tuple(tuple(pool[start : start + length]) for start in starts.tolist())
        twins.append(Opening(opening.kind, True, spans))
    return twins
