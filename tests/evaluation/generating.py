"""Generation in a process of its own that kills itself after so many batches; see test_kept.py."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from ssah_exp.evaluation.generate import Decoding, generate
from ssah_exp.evaluation.kept import KeptCompletions
from ssah_exp.evaluation.questions import Prompt
from tests import tiny

DECODING = Decoding(max_new_tokens=6, batch_size=3, share_prefix=False)
PROMPTS = [Prompt(tuple(tiny.random_words(2 + 3 * at % 11, at)), "raw") for at in range(11)]


def main(folder: str, batches: str) -> None:
    torch.set_num_threads(1)
    left = int(batches)

    def advance(done: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    loaded = tiny.never_stopping(tiny.tiny_loaded("llama_gqa", seed=3))
    generate(loaded, PROMPTS, DECODING, advance, KeptCompletions(Path(folder), len(PROMPTS)))


if __name__ == "__main__":
    main(*sys.argv[1:])
