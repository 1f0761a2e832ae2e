"""Worst of k fixed suffixes (protocol section 3): each is appended to the request in turn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ssah_exp.data.files import read_texts
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError
from ssah_exp.evaluation.attacks.base import Attack, Attempt
from ssah_exp.evaluation.attacks.request import Request
from ssah_exp.evaluation.attacks.victim import Victim


@dataclass(kw_only=True)
class SuffixFile(Attack):
    """Suffixes from a file: one attempt each; the request counts as answered if any succeeds.

    Attributes:
        path: ``.txt`` with a suffix on each line, or ``.json`` with a list of strings, or
            ``.jsonl``; only these two keep blanks at both ends.
        count: Suffixes to take, from the top; None = all.
        separator: Stands between request and suffix.
    """

    path: str
    count: int | None = None
    separator: str = " "

    SEARCHES: ClassVar[bool] = False

    @cached_property
    def suffixes(self) -> list[str]:
        """The suffixes taken from the file.

        Raises:
            DataError: No such file, not a list of strings, or fewer than ``count``.
        """
        suffixes = read_texts(Path(self.path).expanduser(), "suffix")
        wanted = len(suffixes) if self.count is None else self.count
        if not 1 <= wanted <= len(suffixes):
            raise DataError(
                f"Attack '{self.name}' asks for {wanted} suffixes; {self.path} holds "
                f"{len(suffixes)}."
            )
        return suffixes[:wanted]

    def attempts(self, victim: Victim, request: Request, seed: int) -> list[Attempt]:
        """The request with each suffix."""
        return [Attempt(f"{request.prompt}{self.separator}{suffix}") for suffix in self.suffixes]

    def settings(self) -> dict[str, Any]:
        """The suffixes by their hash: they are the user's and need not stand in a record."""
        content = super().settings()
        del content["path"]
        return {**content, "count": len(self.suffixes), "suffixes": self.fingerprint()}

    def fingerprint(self) -> str:
        """sha256 over the suffixes taken."""
        return digest_of(self.suffixes)
