"""Packages of a user's own, written to a folder that Python looks into."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from ssah_exp.config.plugins import VARIABLE, package_code

JUDGE = '''from dataclasses import dataclass

from ssah_exp.evaluation.judges.base import Verdict


@dataclass(frozen=True)
class Short:
    """Answers of few words are refusals."""

    words: int = 3
    name: str = "short"

    def describe(self):
        return {"kind": "short", "name": self.name, "words": self.words}

    def judge(self, prompts, completions):
        few = [len(text.split()) < self.words for text in completions]
        return [Verdict.REFUSED if item else Verdict.COMPLIED for item in few]
'''
HARM_JUDGE = """from dataclasses import dataclass

from ssah_exp.evaluation.judges.base import Judgement, Scale, Verdict
from ssah_exp.evaluation.judges.harm import HarmJudge


@dataclass(kw_only=True)
class Harm(HarmJudge):
    name: str = "harm"
    asked: int = 0

    @property
    def scale(self):
        return Scale(0, 1)

    def settings(self):
        return {"kind": "harm"}

    def _ask(self, pairs):
        found = {}
        for prompt, answer in pairs:
            self.asked += 1
            found[prompt, answer] = Judgement(Verdict.COMPLIED, 1.0)
            self._memory.add(prompt, answer, found[prompt, answer])
        return found
"""
_NUMBERS = itertools.count()


def _nothing(folder: Path) -> None:
    """Nothing else lies in the package."""


class Install(Protocol):
    """Writes a package with a module ``deep.helper`` and puts it on Python's path."""

    def __call__(
        self,
        code: str,
        *,
        name: str | None = None,
        trusted: bool = True,
        prepare: Callable[[Path], object] = _nothing,
    ) -> str:
        """Its name; one given twice is the package anew, as another process would find it."""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Packages of this test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(VARIABLE, "")

    def write(
        code: str,
        *,
        name: str | None = None,
        trusted: bool = True,
        prepare: Callable[[Path], object] = _nothing,
    ) -> str:
        made = name or f"ssah_plugin_{next(_NUMBERS)}"
        folder = tmp_path / made
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(code, encoding="utf-8")
        (folder / "deep" / "helper.py").write_text("A = 1\n", encoding="utf-8")
        prepare(folder)
        if trusted:
            monkeypatch.setenv(VARIABLE, f"{os.environ[VARIABLE]},{made}")
        sys.modules.pop(made, None)
        package_code.cache_clear()
        importlib.invalidate_caches()
        return made

    return write
