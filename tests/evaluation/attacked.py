"""A tiny model under attack."""

from __future__ import annotations

from functools import cache

from ssah_exp.evaluation.attacks import Request, Victim
from ssah_exp.evaluation.generate import Decoding
from tests import tiny

REQUEST = Request("w10 w11 w12", "raw")
SYSTEM = "w50 w51"


@cache
def victim_of(family: str = "llama_gqa", seed: int = 3, new_tokens: int = 6) -> Victim:
    """Never stops; answers with ``new_tokens`` tokens."""
    loaded = tiny.never_stopping(tiny.tiny_loaded(family, seed=seed))
    return Victim.of(loaded, SYSTEM, Decoding(new_tokens, 4, share_prefix=True))
