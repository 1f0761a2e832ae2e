"""Completions of unfinished work, kept batch by batch, so that a killed run goes on from there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_exp.appended import AppendedLines

FILE = "completions.jsonl"


class KeptCompletions:
    """Completions by the position of their prompt, in a file that is only appended to.

    Lines that cannot be read, or name no prompt, are skipped: their prompts are asked again.

    Args:
        folder: Where the file lies, e.g. a cache's place for the partial work of one entry. It
            must belong to these prompts and this model alone.
        prompts: Number of prompts.

    Attributes:
        texts: Position of a prompt -> its completion, as far as known.
    """

    def __init__(self, folder: Path, prompts: int) -> None:
        self._lines = AppendedLines(folder / FILE)
        self.texts: dict[int, str] = {}
        for row in self._lines.read():
            if _whole(row, prompts):
                self.texts.setdefault(row["prompt"], row["completion"])

    def add(self, texts: Mapping[int, str]) -> None:
        """Keep the completions of one batch; those known already stay as they are.

        Raises:
            StoreError: The disk is full or not writable.
        """
        for prompt, text in texts.items():
            if prompt not in self.texts:
                self._lines.append({"prompt": prompt, "completion": text})
                self.texts[prompt] = text


def _whole(row: Any, prompts: int) -> bool:
    if not isinstance(row, dict):
        return False
    prompt, text = row.get("prompt"), row.get("completion")
    return type(prompt) is int and 0 <= prompt < prompts and isinstance(text, str)
